//! What a run makes in an engine, and takes out of that engine again: of no other, and of nobody else.

use super::private::Private;
use super::{ANSWER, Engine, EngineError, SMALL, WAY, answer, docker, has_network, known_by};
use crate::sys::progress::Progress;
use crate::sys::tool::{self, Tool};

/// The label of what a run makes in an engine.
const RUN_LABEL: &str = "svidproof.run";

impl Engine {
    /// Makes a network for the run.
    pub async fn make_network(&self, name: &str, run: &str) -> Result<(), EngineError> {
        let create = self.docker().limit(SMALL).args(["network", "create", "--driver", "bridge"]);
        let create = create.args(["--ipv6=false", "--label", &format!("{RUN_LABEL}={run}"), name]);
        Ok(create.run().await.map(drop)?)
    }

    /// The docker CLI, about to run a container of this name for the run.
    pub fn run(&self, name: &str, run: &str) -> Tool {
        self.docker().args(["run", "--name", name, "--label", &format!("{RUN_LABEL}={run}")])
    }
}

/// Takes a run's network out of the engine that the run made it in.
pub async fn remove_network(
    progress: &Progress,
    name: &str,
    env: &[(String, String)],
    id: &str,
) -> Result<(), EngineError> {
    again(progress, env, id).await?;
    if !has_network(&way(env), name).await? {
        return Ok(());
    }
    Ok(way(env).limit(SMALL).args(["network", "rm", name]).run().await.map(drop)?)
}

/// Takes a run's container out of the engine that the run made it in, running or not.
pub async fn remove_container(
    progress: &Progress,
    name: &str,
    env: &[(String, String)],
    id: &str,
) -> Result<(), EngineError> {
    again(progress, env, id).await?;
    remove_found(&format!("name=^/?{name}$"), env).await
}

/// Takes the nodes of a cluster that kind made out of the engine that [`again`] has found, by the label that
/// kind gives them.
pub async fn remove_nodes(cluster: &str, env: &[(String, String)]) -> Result<(), EngineError> {
    remove_found(&format!("label=io.x-k8s.kind.cluster={cluster}"), env).await
}

async fn remove_found(filter: &str, env: &[(String, String)]) -> Result<(), EngineError> {
    // What was told to end may still be about to make it.
    tool::quiet().await;
    let list = way(env).limit(SMALL).args(["ps", "--all", "--quiet", "--filter", filter]);
    let found = list.run().await?.stdout;
    for container in found.split_whitespace() {
        way(env).limit(SMALL).args(["rm", "--force", "--volumes", container]).run().await?;
    }
    Ok(())
}

/// The docker CLI, talking to the engine that a lease names, and not to where this process would go.
fn way(env: &[(String, String)]) -> Tool {
    let docker = WAY.into_iter().fold(docker(None), Tool::env_remove);
    docker.envs(env.iter().map(|(key, value)| (key, value)))
}

/// Before something is taken out of the engine that a run was made in: it is the same one, and runs. A
/// private one is started for it.
///
/// # Errors
/// None answers there, or another one than `id`: then nothing may be said of what was in the first.
pub async fn again(progress: &Progress, env: &[(String, String)], id: &str) -> Result<(), EngineError> {
    let private = Private::new();
    let host = env.iter().find(|(name, _)| name == "DOCKER_HOST").map(|(_, host)| host.as_str());
    if host == Some(private.host().as_str()) {
        let _lock = private.lock().await?;
        let why = EngineError::OwnSocket { host: private.host() };
        return private.ensure(progress, why).await.map(drop);
    }
    if id.is_empty() {
        return Ok(());
    }
    let first = answer(way(env), ANSWER).await?;
    // Only of one that gives itself another ID each time is more to be asked.
    let there = if first.id == id { first.id } else { known_by(way(env), &first).await? };
    if there == id { Ok(()) } else { Err(EngineError::Another { then: id.into(), there }) }
}
