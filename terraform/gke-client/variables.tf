variable "name" {
  description = "The machine's name; the addresses, the zone, the account and the firewall rules are named after it."
  type        = string
  default     = "vm-1"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,28}[a-z0-9]$", var.name))
    error_message = "It is 2 to 30 lower-case letters, digits and dashes, a letter first and no dash last."
  }
}

variable "project" {
  description = "The Google Cloud project, which is the cluster's too. Its APIs compute, dns and iam must be on."
  type        = string
}

variable "region" {
  description = "The region of the subnet."
  type        = string
  default     = "us-central1"
}

variable "zone" {
  description = "The zone of the machine."
  type        = string
  default     = "us-central1-a"
}

variable "network" {
  description = "The cluster's VPC network, by name; terraform/gke names it after the cluster."
  type        = string
}

variable "subnetwork" {
  description = "The subnet of the cluster's nodes, by name; terraform/gke names it after the cluster. The machine and the internal load balancers have their addresses of it."
  type        = string
}

variable "nodes_service_account" {
  description = "The account of the cluster's nodes, by its e-mail: only they are let be reached by the machine."
  type        = string
}

variable "machine_type" {
  description = "The machine's type."
  type        = string
  default     = "e2-small"
}

variable "trust_domain" {
  description = "The trust domain, without spiffe://."
  type        = string
  default     = "example.com"
}

variable "trust_bundle" {
  description = "The CA certificates of the trust domain, PEM: `spire-server bundle show`. By them the machine's agent knows its server."
  type        = string

  validation {
    condition     = can(regex("BEGIN CERTIFICATE", var.trust_bundle))
    error_message = "It is one certificate or more, as PEM."
  }
}

variable "dns_name" {
  description = "The private DNS zone, with a dot at its end: the front proxy is proxy.<it>, unless it is <it> itself that its certificate has."
  type        = string
  default     = "example.com."

  validation {
    condition     = can(regex("[.]$", var.dns_name))
    error_message = "A DNS name is written with a dot at its end here: `example.com.`."
  }
}

variable "proxy_port" {
  description = "The port of the front proxy's Service."
  type        = number
  default     = 443
}

variable "spire_port" {
  description = "The port of the SPIRE server's Service."
  type        = number
  default     = 8081
}

variable "agent_image" {
  description = "SPIRE's agent. The machine has no external address: a registry that Private Google Access reaches, such as Artifact Registry with a copy of ghcr.io/spiffe/spire-agent."
  type        = string
}

variable "workload_uid" {
  description = "The Unix user, by number, that the workload on the machine is: the selector unix:uid:<it>."
  type        = number
  default     = 64001
}

variable "labels" {
  description = "Labels of what is made, such as the run's and when it expires."
  type        = map(string)
  default     = {}
}
