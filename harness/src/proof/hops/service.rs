//! The hop of a Service: that it is there, selects pods, and leads a port to them.

use std::collections::BTreeMap;

use super::{Found, Hop, Known, Pod};

/// A Service and what it selects, as they stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// Its selector; empty where it has none.
    pub selector: BTreeMap<String, String>,
    /// Its TCP ports, each with what it leads to: a number or a name.
    pub ports: BTreeMap<u16, String>,
    /// Its own address; none where it is headless.
    pub cluster_ip: Option<String>,
    /// The pods that it selects.
    pub pods: Vec<Pod>,
    /// Pods of its namespace that it does not select: name and labels.
    pub others: Vec<(String, BTreeMap<String, String>)>,
    /// Workloads that make pods such as it selects: `deployment/web`, and why there may be none.
    pub makers: Vec<(String, String)>,
    /// How many endpoints its `EndpointSlice`s have that are ready.
    pub ready: usize,
}

/// What is broken of a Service `namespace/name` at this port; in its place, those that there are.
pub fn of_service(of: &str, name: &str, port: u16, service: &Known<Result<Service, String>>) -> Vec<Found> {
    let service = match service {
        Ok(Ok(service)) => service,
        Ok(Err(instead)) => {
            let evidence = format!("there is no Service {name}: there is {instead}");
            return vec![Found::broken(Hop::Service, of, evidence, "`service` of the endpoint names it")];
        }
        Err(why) => return vec![Found::unread(Hop::Service, of, why)],
    };
    let mut found = vec![];
    let mut broken = |hop, evidence: String, hint: &str| found.push(Found::broken(hop, of, evidence, hint));
    if service.pods.is_empty() && !service.selector.is_empty() {
        match service.makers.first() {
            Some((maker, why)) => broken(
                Hop::Pod,
                format!("{maker} has no pod: {why}"),
                "`kubectl describe` of it says what it waits for",
            ),
            None => broken(
                Hop::Service,
                format!(
                    "Service {name} selects {}, and no pod of its namespace has that{}",
                    in_words(&service.selector),
                    others(service)
                ),
                "its `selector` must be the labels of the pods' template",
            ),
        }
    }
    match service.ports.get(&port) {
        None => {
            let known: Vec<_> = service.ports.keys().map(u16::to_string).collect();
            broken(
                Hop::Service,
                format!("Service {name} has no port {port}: it has {}", known.join(", ")),
                "`port` of the endpoint is the Service's, not the container's",
            );
        }
        Some(target)
            if !service.pods.is_empty() && service.pods.iter().all(|pod| pod.port(target).is_none()) =>
        {
            broken(
                Hop::Service,
                format!("Service {name} leads port {port} to a port `{target}`, and no container has it"),
                "`targetPort` by name must be the name of a container's port",
            );
        }
        Some(_) if service.ready == 0 && service.pods.iter().any(|pod| pod.ready) => broken(
            Hop::Service,
            format!("Service {name} leads nowhere, though pods that it selects are ready"),
            "`kubectl get endpointslices` in its namespace",
        ),
        Some(_) => {}
    }
    found
}

/// Without those that controllers give.
fn in_words(labels: &BTreeMap<String, String>) -> String {
    let own = labels.iter().filter(|(key, _)| !key.ends_with("-hash"));
    own.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn others(service: &Service) -> String {
    let told = service.others.iter().take(4).map(|(pod, labels)| format!("{pod} has {}", in_words(labels)));
    let told: Vec<_> = told.collect();
    if told.is_empty() { String::new() } else { format!(": {}", told.join("; ")) }
}
