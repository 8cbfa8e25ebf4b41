output "endpoint" {
  description = "The API server's address."
  # Not before there are nodes to run on.
  depends_on = [google_container_node_pool.this]

  value = google_container_cluster.this.endpoint
}

output "ca_certificate" {
  description = "The certificate of the cluster's CA, in base64."
  value       = google_container_cluster.this.master_auth[0].cluster_ca_certificate
}

output "project" {
  description = "The project that the cluster is in."
  value       = var.project
}

output "location" {
  description = "The cluster's region."
  value       = google_container_cluster.this.location
}
