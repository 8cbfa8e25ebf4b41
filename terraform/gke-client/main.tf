# A machine that is not in the cluster, beside it in its subnet: a SPIRE agent that attests by the instance's identity token
# (gcp_iit), and a workload that calls the front proxy with an SVID of its own. Nothing of it has an external address.

locals {
  proxy_name = trimsuffix(var.dns_name, ".")
  spire_name = "spire.${local.proxy_name}"
  labels     = merge({ svidproof = var.name }, var.labels)
}

# The addresses of the two internal load balancers, so that they are known before the Services are there: the Services take
# them by `loadBalancerIP`.
resource "google_compute_address" "proxy" {
  name         = "${var.name}-proxy"
  region       = var.region
  address_type = "INTERNAL"
  purpose      = "GCE_ENDPOINT"
  subnetwork   = var.subnetwork
  labels       = local.labels
}

resource "google_compute_address" "spire" {
  name         = "${var.name}-spire"
  region       = var.region
  address_type = "INTERNAL"
  purpose      = "GCE_ENDPOINT"
  subnetwork   = var.subnetwork
  labels       = local.labels
}

# Names that only the network knows: the front proxy's certificate has this one.
resource "google_dns_managed_zone" "this" {
  name        = "${var.name}-private"
  dns_name    = var.dns_name
  description = "What ${var.name} calls in the cluster."
  visibility  = "private"
  labels      = local.labels

  private_visibility_config {
    networks {
      network_url = "projects/${var.project}/global/networks/${var.network}"
    }
  }
}

resource "google_dns_record_set" "proxy" {
  managed_zone = google_dns_managed_zone.this.name
  name         = var.dns_name
  type         = "A"
  ttl          = 60
  rrdatas      = [google_compute_address.proxy.address]
}

resource "google_dns_record_set" "spire" {
  managed_zone = google_dns_managed_zone.this.name
  name         = "${local.spire_name}."
  type         = "A"
  ttl          = 60
  rrdatas      = [google_compute_address.spire.address]
}

# An account without any right: its identity token is what attests the machine.
resource "google_service_account" "this" {
  account_id   = "svidproof-${substr(sha256(var.name), 0, 12)}"
  display_name = "Client ${var.name} outside of the cluster"
}

# To pull the agent's image, where that is in this project's Artifact Registry.
resource "google_project_iam_member" "images" {
  project = var.project
  role    = "roles/artifactregistry.reader"
  member  = "serviceAccount:${google_service_account.this.email}"
}

# An internal load balancer passes packets on as they are: it is the nodes that must let them in. By account, so that no other
# machine of the subnet comes along.
resource "google_compute_firewall" "calls" {
  name      = "${var.name}-calls"
  network   = var.network
  direction = "INGRESS"

  source_service_accounts = [google_service_account.this.email]
  target_service_accounts = [var.nodes_service_account]

  allow {
    protocol = "tcp"
    ports    = [tostring(var.proxy_port), tostring(var.spire_port)]
  }
}

# A person comes in by Google's Identity-Aware Proxy, from its own range, and by nothing else.
resource "google_compute_firewall" "ssh" {
  name      = "${var.name}-ssh"
  network   = var.network
  direction = "INGRESS"

  source_ranges           = ["35.235.240.0/20"]
  target_service_accounts = [google_service_account.this.email]

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

resource "google_compute_instance" "this" {
  name                      = var.name
  zone                      = var.zone
  machine_type              = var.machine_type
  labels                    = local.labels
  allow_stopping_for_update = true
  deletion_protection       = false

  boot_disk {
    initialize_params {
      image = "projects/cos-cloud/global/images/family/cos-stable"
      size  = 10
    }
  }

  # No `access_config`: no external address.
  network_interface {
    network    = var.network
    subnetwork = var.subnetwork
  }

  service_account {
    email  = google_service_account.this.email
    scopes = ["cloud-platform"]
  }

  shielded_instance_config {
    enable_secure_boot          = true
    enable_integrity_monitoring = true
  }

  # Container-Optimized OS takes cloud-init's configuration from here.
  metadata = {
    user-data = templatefile("${path.module}/cloud-init.yaml.tftpl", {
      agent_image  = var.agent_image
      proxy_name   = local.proxy_name
      proxy_port   = var.proxy_port
      spire_name   = local.spire_name
      spire_port   = var.spire_port
      trust_bundle = var.trust_bundle
      trust_domain = var.trust_domain
      workload_uid = var.workload_uid
    })
    enable-oslogin = "TRUE"
  }

  # An agent that starts before its server has a name loses time, and no more.
  depends_on = [google_dns_record_set.spire, google_project_iam_member.images]
}
