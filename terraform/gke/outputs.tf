output "kubeconfig" {
  description = "A kubeconfig for the cluster. It holds no secret: gke-gcloud-auth-plugin fetches a token where it is used."
  # Not before there are nodes to run on.
  depends_on = [google_container_node_pool.this]

  value = yamlencode({
    apiVersion      = "v1"
    kind            = "Config"
    current-context = var.name
    clusters = [{
      name = var.name
      cluster = {
        server                     = "https://${google_container_cluster.this.endpoint}"
        certificate-authority-data = google_container_cluster.this.master_auth[0].cluster_ca_certificate
      }
    }]
    contexts = [{
      name    = var.name
      context = { cluster = var.name, user = var.name }
    }]
    users = [{
      name = var.name
      user = {
        exec = {
          apiVersion         = "client.authentication.k8s.io/v1beta1"
          command            = "gke-gcloud-auth-plugin"
          installHint        = "install it by: gcloud components install gke-gcloud-auth-plugin"
          interactiveMode    = "Never"
          provideClusterInfo = true
        }
      }
    }]
  })
}

output "context" {
  description = "The kubeconfig's context."
  value       = var.name
}

output "endpoint" {
  description = "The API server's address."
  value       = google_container_cluster.this.endpoint
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
  description = "The cluster's zone or region."
  value       = google_container_cluster.this.location
}
