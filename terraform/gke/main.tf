locals {
  # By them svidproof finds, after a run, what should have gone with it, and `svidproof gc --expired` what a lost machine left.
  labels = merge({ svidproof = var.name }, var.expires == "" ? {} : { svidproof-expires = var.expires })

  node_locations = length(var.node_locations) == 0 ? ["${var.region}-a"] : var.node_locations
}

# A network of its own: nothing else of the project is reached, and all of it goes with the cluster.
resource "google_compute_network" "this" {
  name                    = var.name
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "this" {
  name                     = var.name
  network                  = google_compute_network.this.id
  region                   = var.region
  ip_cidr_range            = "10.4.0.0/22"
  private_ip_google_access = true

  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = "10.0.0.0/14"
  }

  secondary_ip_range {
    range_name    = "services"
    ip_cidr_range = "10.4.4.0/22"
  }
}

# Nodes without addresses of their own reach registries through this.
resource "google_compute_router" "this" {
  count = var.private_nodes ? 1 : 0

  name    = var.name
  region  = var.region
  network = google_compute_network.this.id
}

resource "google_compute_router_nat" "this" {
  count = var.private_nodes ? 1 : 0

  name                               = var.name
  region                             = var.region
  router                             = google_compute_router.this[0].name
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
}

# The project's default account may do far more than a node has to.
resource "google_service_account" "nodes" {
  # At most 30 characters: a cluster's name may be longer.
  account_id   = "svidproof-${substr(sha256(var.name), 0, 12)}"
  display_name = "Nodes of ${var.name}"
}

resource "google_project_iam_member" "nodes" {
  project = var.project
  role    = "roles/container.defaultNodeServiceAccount"
  member  = "serviceAccount:${google_service_account.nodes.email}"
}

# Standard, not Autopilot: SPIRE's agent needs hostPID, hostNetwork and a hostPath, which Autopilot refuses.
resource "google_container_cluster" "this" {
  name     = var.name
  location = var.region

  # The control plane is in the whole region, the nodes are in these zones of it.
  node_locations = local.node_locations

  network         = google_compute_network.this.id
  subnetwork      = google_compute_subnetwork.this.id
  networking_mode = "VPC_NATIVE"

  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }

  release_channel {
    channel = var.release_channel
  }

  # The node pool below is the only one. GKE makes this first one all the same, so it gets the same small account.
  remove_default_node_pool = true
  initial_node_count       = 1

  node_config {
    service_account = google_service_account.nodes.email
    disk_size_gb    = var.disk_gb
  }

  datapath_provider     = "ADVANCED_DATAPATH"
  enable_shielded_nodes = true
  deletion_protection   = var.deletion_protection
  resource_labels       = local.labels

  workload_identity_config {
    workload_pool = "${var.project}.svc.id.goog"
  }

  master_auth {
    client_certificate_config {
      issue_client_certificate = false
    }
  }

  master_authorized_networks_config {
    dynamic "cidr_blocks" {
      for_each = var.authorized_networks

      content {
        cidr_block = cidr_blocks.value
      }
    }
  }

  private_cluster_config {
    enable_private_nodes    = var.private_nodes
    enable_private_endpoint = false
  }

  # What a run shows it shows itself: no logs and metrics to pay for beyond the system's own.
  logging_config {
    enable_components = ["SYSTEM_COMPONENTS"]
  }

  monitoring_config {
    enable_components = ["SYSTEM_COMPONENTS"]

    managed_prometheus {
      enabled = false
    }
  }

  # What the first pool had is of no interest once it is gone.
  lifecycle {
    ignore_changes = [node_config]
  }

  # Nodes without a way out never become ready.
  depends_on = [google_project_iam_member.nodes, google_compute_router_nat.this]
}

resource "google_container_node_pool" "this" {
  name           = "pool-1"
  cluster        = google_container_cluster.this.id
  node_locations = local.node_locations
  node_count     = var.nodes

  node_config {
    machine_type    = var.machine_type
    disk_size_gb    = var.disk_gb
    disk_type       = "pd-balanced"
    image_type      = "COS_CONTAINERD"
    spot            = var.spot
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    resource_labels = local.labels

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }

    workload_metadata_config {
      mode = "GKE_METADATA"
    }
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }
}
