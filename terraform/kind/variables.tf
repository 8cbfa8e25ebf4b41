variable "kind" {
  description = "The kind program, by its path: what PATH has may be another."
  type        = string
}

variable "name" {
  description = "The cluster's name; kind labels its containers with it."
  type        = string
}

variable "node_image" {
  description = "The container image of the node."
  type        = string
}

variable "kubeconfig" {
  description = "The file that kind writes the cluster's credentials to: the run's own, never the user's."
  type        = string
}

variable "port_mappings" {
  description = "Node ports, and the ports of 127.0.0.1 that lead to them."
  type        = list(object({ container_port = number, host_port = number }))
  default     = []
}

variable "workers" {
  description = "How many nodes there are beside the control plane, which then takes no pods of anybody's."
  type        = number
  default     = 0
}

variable "containerd_stores" {
  description = "A folder a node with the unpacked images, to be its /var/lib/containerd. None: the image brings its own."
  type        = list(string)
  default     = []
}

variable "registry_hosts" {
  description = "A folder to be the node's /etc/containerd/certs.d, which names the registry that it pulls from. Empty: it asks each image's own."
  type        = string
  default     = ""
}

variable "packages_node" {
  description = "The node image is svidproof's own: it carries its resolver's file, and runs where cgroups are version 1."
  type        = bool
  default     = true
}

variable "kubernetes" {
  description = "The Kubernetes of the node image, as 1.36.3."
  type        = string
}

variable "image_tags" {
  description = "The tags of the images of etcd and CoreDNS in svidproof's own node image."
  type        = object({ etcd = string, coredns = string })
  default     = null
}

variable "wait" {
  description = "How long kind waits for the control plane, as Go writes durations. 0s: svidproof waits itself, by events."
  type        = string
  default     = "0s"
}
