# terraform_data is built in: no provider is fetched, so `init` needs no registry. OpenTofu has it too.
terraform {
  required_version = ">= 1.4"
}
