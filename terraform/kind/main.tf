locals {
  # There is one of each, so nobody is to be waited for; and the controllers, forty of them, each ask for a token before any of them starts,
  # which takes 5 s at the default of 20 requests a second. The first argument is kind's own: a patch replaces a whole list.
  arguments = {
    controllerManager = {
      enable-hostpath-provisioner = "true"
      leader-elect                = "false"
      kube-api-qps                = "500"
      kube-api-burst              = "1000"
    }
    scheduler = { leader-elect = "false" }
  }
  # kind takes kubeadm's v1beta4, which has lists of arguments, from this Kubernetes on.
  takes_lists = tonumber(split(".", var.kubernetes)[1]) >= 36

  # Applied to the node's kubeadm configuration, a document each.
  patches = concat([for lists in [local.takes_lists] : merge(
    { kind = "ClusterConfiguration" },
    { for part, arguments in local.arguments : part => { extraArgs = [for name, value in arguments : { name = name, value = value }] } },
    ) if lists], [for lists in [local.takes_lists] : merge(
    { kind = "ClusterConfiguration" },
    { for part, arguments in local.arguments : part => { extraArgs = arguments } },
    ) if !lists], [for lists in [local.takes_lists] : {
    kind = "ClusterConfiguration"
    # RSA keys take kubeadm 1.6 s longer. v1beta3 knows no others.
    encryptionAlgorithm = "ECDSA-P256"
    } if lists], [for own in [var.packages_node] : {
    kind = "ClusterConfiguration"
    # Those that the node has: kubeadm would ask for those of its own release.
    etcd = { local = { imageTag = var.image_tags.etcd } }
    dns  = { imageTag = var.image_tags.coredns }
    } if own], [
    {
      kind = "KubeletConfiguration"
      # SPIRE's agent verifies the kubelet's certificate, so it must be one of the cluster's CA; svidproof approves the request.
      serverTLSBootstrap = true
    },
    ], [for own in [var.packages_node] : {
      kind = "KubeletConfiguration"
      # Kubernetes 1.35 and later refuse cgroup v1 unless told otherwise.
      failCgroupV1 = false
      cgroupDriver = "cgroupfs"
      # Docker's resolver would send CoreDNS into a loop; the node image's file names one that rejects.
      resolvConf = "/etc/pods-resolv.conf"
      # A machine without CAP_SYS_RESOURCE cannot lower scores or raise limits.
      oomScoreAdj  = 0
      maxOpenFiles = 20000
      } if own], [for own in [var.packages_node] : {
      kind        = "KubeProxyConfiguration"
      oomScoreAdj = 0
      # 0 leaves the machine's connection tracking table as it is.
      conntrack = { maxPerCore = 0 }
  } if own])

  config = {
    kind       = "Cluster"
    apiVersion = "kind.x-k8s.io/v1alpha4"
    networking = {
      apiServerAddress = "127.0.0.1"
      podSubnet        = "10.244.0.0/16"
      serviceSubnet    = "10.96.0.0/16"
    }
    nodes = [for number in range(1 + var.workers) : {
      role = number == 0 ? "control-plane" : "worker"
      # A node port is every node's; one way in is enough.
      extraPortMappings = [for ports in var.port_mappings : {
        containerPort = ports.container_port
        hostPort      = ports.host_port
        listenAddress = "127.0.0.1"
      } if number == 0]
      extraMounts = concat(
        [for store in slice(var.containerd_stores, number, min(number + 1, length(var.containerd_stores))) : { hostPath = store, containerPath = "/var/lib/containerd", readOnly = false }],
        [for hosts in [var.registry_hosts] : { hostPath = hosts, containerPath = "/etc/containerd/certs.d", readOnly = true } if hosts != ""],
      )
      kubeadmConfigPatches = [for patch in local.patches : yamlencode(patch) if number == 0]
    }]
  }
}

# What destroy takes down. Apart from the resource that makes the cluster, and made before it: Terraform runs no destroy-time provisioner of a
# resource whose creation failed or was interrupted, and the state names nothing until the first resource is there.
resource "terraform_data" "removal" {
  # A destroy-time provisioner sees nothing but its own resource.
  input = {
    kind       = var.kind
    name       = var.name
    kubeconfig = var.kubeconfig
  }

  triggers_replace = [var.name, var.node_image, yamlencode(local.config)]

  provisioner "local-exec" {
    when    = destroy
    command = "\"$KIND\" delete cluster --name \"$NAME\" --kubeconfig \"$FILE\""
    environment = {
      KIND = self.input.kind
      NAME = self.input.name
      FILE = self.input.kubeconfig
    }
  }
}

resource "terraform_data" "cluster" {
  input = terraform_data.removal.output

  triggers_replace = [terraform_data.removal.id]

  provisioner "local-exec" {
    command = "printf '%s' \"$CONFIG\" | \"$KIND\" create cluster --name \"$NAME\" --image \"$IMAGE\" --kubeconfig \"$FILE\" --wait \"$WAIT\" --config -"
    environment = {
      CONFIG = yamlencode(local.config)
      KIND   = var.kind
      NAME   = var.name
      IMAGE  = var.node_image
      FILE   = var.kubeconfig
      WAIT   = var.wait
    }
  }
}
