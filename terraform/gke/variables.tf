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
  description = "The subnet's region, and the control plane's where no zone is given."
  type        = string
  default     = "us-central1"
}

variable "zone" {
  description = "The zone of the control plane and of the nodes. Empty: a regional control plane, and `nodes` nodes in each zone of the region."
  type        = string
  default     = "us-central1-a"
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
  description = "Nodes a zone."
  type        = number
  default     = 2
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
  description = "The networks (CIDR) that may reach the API server. Empty: all, as Google's own default is; it asks for credentials in any case."
  type        = list(string)
  default     = []
}

variable "deletion_protection" {
  description = "Whether Terraform refuses to destroy the cluster. A cluster made for a run must go with it."
  type        = bool
  default     = false
}
