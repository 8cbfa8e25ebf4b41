//! Where a container of a pod finds the agent's socket: by the pod's own volumes and mounts.

use std::path::Path;

use k8s_openapi::api::core::v1::{Pod, Volume};
use kube::Api;

use super::{Backend, Kube, KubeError};
use crate::scenario::Spire;

impl Kube {
    /// The path of the agent's socket in this container.
    pub async fn agent_socket(
        &self,
        backend: &Backend,
        container: &str,
        spire: &Spire,
    ) -> Result<String, KubeError> {
        let what = format!("find the agent's socket in pod {}/{}", backend.namespace, backend.pod);
        let pods: Api<Pod> = Api::namespaced(self.client(), &backend.namespace);
        let pod = pods.get(&backend.pod).await.map_err(KubeError::api(&what))?;
        mounted(&pod, container, spire).ok_or_else(|| {
            KubeError::other(what)(format!("container {container} mounts no volume that has it"))
        })
    }
}

fn mounted(pod: &Pod, container: &str, spire: &Spire) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let container = spec.containers.iter().find(|one| one.name == container)?;
    let volumes = spec.volumes.iter().flatten();
    let mounts = volumes.filter_map(|volume| {
        let rest = below(volume, spire)?;
        let mount = container.volume_mounts.iter().flatten().find(|mount| mount.name == volume.name)?;
        Some(Path::new(&mount.mount_path).join(rest).to_str()?.to_owned())
    });
    mounts.into_iter().next()
}

/// The socket's path from the volume on, if it is in that volume.
fn below(volume: &Volume, spire: &Spire) -> Option<String> {
    let file = &spire.socket_file;
    match (&spire.socket_dir, &spire.csi) {
        (Some(folder), _) => {
            let socket = Path::new(folder).join(file);
            let rest = socket.strip_prefix(&volume.host_path.as_ref()?.path).ok()?;
            rest.to_str().map(ToOwned::to_owned)
        }
        (None, driver) => (Some(&volume.csi.as_ref()?.driver) == driver.as_ref()).then(|| file.clone()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::the_folder(json!({"hostPath": {"path": "/run/spire"}}), "socket-dir: /run/spire", Some("/sock/agent.sock"))]
    #[case::a_folder_above(
        json!({"hostPath": {"path": "/run"}}),
        "socket-dir: /run/spire, socket-file: api.sock",
        Some("/sock/spire/api.sock")
    )]
    #[case::another_folder(json!({"hostPath": {"path": "/etc"}}), "socket-dir: /run/spire", None)]
    #[case::a_driver(
        json!({"csi": {"driver": "csi.spiffe.io"}}),
        "csi: csi.spiffe.io, socket-file: spire-agent.sock",
        Some("/sock/spire-agent.sock")
    )]
    #[case::another_driver(json!({"csi": {"driver": "disk.csi"}}), "csi: csi.spiffe.io", None)]
    #[case::no_driver(json!({"hostPath": {"path": "/run/spire"}}), "csi: csi.spiffe.io", None)]
    fn a_socket_is_found_by_its_volume(
        #[case] mut volume: Value,
        #[case] spire: &str,
        #[case] expected: Option<&str>,
    ) {
        volume["name"] = "spire".into();
        let mount = json!({"name": "spire", "mountPath": "/sock"});
        let pod = json!({"spec": {
            "containers": [{"name": "app", "volumeMounts": [mount]}], "volumes": [{"name": "tmp", "emptyDir": {}}, volume],
        }});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let spire: Spire =
            serde_saphyr::from_str(&format!("{{namespace: spire, server: server, {spire}}}")).unwrap();
        assert_eq!(mounted(&pod, "app", &spire).as_deref(), expected);
        assert_eq!(mounted(&pod, "other", &spire), None);
    }
}
