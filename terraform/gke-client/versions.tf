terraform {
  required_version = ">= 1.4"

  required_providers {
    # 6.50 is the schema that scripts/check-gke checks the arguments against.
    google = {
      source  = "hashicorp/google"
      version = ">= 6.50, < 7.0"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}
