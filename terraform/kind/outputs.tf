output "kubeconfig" {
  description = "The file with the cluster's credentials."
  value       = terraform_data.cluster.output.kubeconfig
}

output "context" {
  description = "The kubeconfig's context."
  value       = "kind-${terraform_data.cluster.output.name}"
}

output "node" {
  description = "The node's container."
  value       = "${terraform_data.cluster.output.name}-control-plane"
}
