variable "name" {
  description = "The cluster's name; svidproof gives its run's. The network, the subnet and the nodes' account are named after it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,38}[a-z0-9]$", var.name))
    error_message = "GKE wants 2 to 40 lower-case letters, digits and dashes, a letter first and no dash last."
  }
}

variable "project" {
  description = "The Google Cloud project. Its APIs compute, container and iam must be on."
  type        = string
}

variable "region" {
  description = "The region of the subnet and of the control plane."
  type        = string
  default     = "us-central1"
}

variable "node_locations" {
  description = "The zones of the region that nodes are in. Empty: its zone a alone."
  type        = list(string)
  default     = []
}

variable "release_channel" {
  description = "Which of GKE's release channels chooses the Kubernetes version."
  type        = string
  default     = "REGULAR"

  validation {
    condition     = contains(["RAPID", "REGULAR", "STABLE", "EXTENDED"], var.release_channel)
    error_message = "It is RAPID, REGULAR, STABLE or EXTENDED."
  }
}

variable "nodes" {
  description = "Nodes in each of these zones."
  type        = number
  default     = 3
}

variable "machine_type" {
  description = "The nodes' machine type."
  type        = string
  default     = "e2-standard-4"
}

variable "disk_gb" {
  description = "The size of a node's boot disk."
  type        = number
  default     = 30
}

variable "spot" {
  description = "Spot machines: a fraction of the price, and Google may take one away at any time, which ends a run as `errored`."
  type        = bool
  default     = true
}

variable "authorized_networks" {
  description = "The networks (CIDR) that may reach the API server; svidproof gives the address that it comes from itself."
  type        = list(string)
  default     = []
}

variable "private_nodes" {
  description = "Whether nodes have no addresses of their own, and reach registries by Cloud NAT."
  type        = bool
  default     = false
}

variable "expires" {
  description = "When the cluster may be taken for lost, in seconds since 1970, as a label; svidproof gives it by --max-lifetime. Empty: never."
  type        = string
  default     = ""
}

variable "state_bucket" {
  description = "The bucket of Google Cloud Storage that svidproof keeps the state in, so that another machine can destroy what this one left. Empty: the run's folder."
  type        = string
  default     = ""
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to destroy the cluster. A cluster made for a run must go with it."
  type        = bool
  default     = false
}
