output "proxy_address" {
  description = "The front proxy's Service takes it: `loadBalancerIP`, of the type LoadBalancer, internal."
  value       = google_compute_address.proxy.address
}

output "spire_address" {
  description = "The SPIRE server's Service takes it."
  value       = google_compute_address.spire.address
}

output "proxy_name" {
  description = "What the machine calls the front proxy: a DNS SAN of that one's SVID."
  value       = local.proxy_name
}

output "alias" {
  description = "The selectors by which the SPIRE server knows the machine: of a node alias, the parent of its workloads' entries."
  value = [
    "gcp_iit:project-id:${var.project}",
    "gcp_iit:zone:${var.zone}",
    "gcp_iit:instance-name:${google_compute_instance.this.name}",
  ]
}

output "workload" {
  description = "The selectors of its workload."
  value       = ["unix:uid:${var.workload_uid}"]
}
