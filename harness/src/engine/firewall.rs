//! What keeps the private engine's containers on this machine: whatever comes from the cluster's bridge
//! towards another interface, or as a new connection to this host, is rejected; IPv4 and IPv6. Rejected, not
//! dropped: dropped, whoever dials out hangs until its time-out.
//!
//! The rules lie in two chains of their own. Not for a user's engine: its firewall is the user's.

use std::fmt::Write;

use crate::sys::tool::{Tool, ToolError};

/// The rules of one bridge. Its name is settled before the bridge is there.
#[derive(Debug, Clone)]
pub(super) struct Firewall {
    bridge: String,
}

/// A chain of ours, the built-in chain that goes through it first, and its rules as `iptables -S` prints
/// them.
struct Chain {
    name: String,
    hook: &'static str,
    rules: [String; 2],
}

#[derive(Debug, Clone, Copy)]
struct Family {
    list: &'static str,
    restore: &'static str,
    reject_with: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family { list: "iptables", restore: "iptables-restore", reject_with: "icmp-port-unreachable" },
    Family { list: "ip6tables", restore: "ip6tables-restore", reject_with: "icmp6-port-unreachable" },
];

impl Firewall {
    pub(super) fn of(bridge: &str) -> Self {
        Self { bridge: bridge.into() }
    }

    /// Puts the rules in, or back where something else took them out or got before them.
    pub(super) async fn raise(&self) -> Result<(), ToolError> {
        for family in FAMILIES {
            change(family, |listing| missing(listing, &self.chains(family.reject_with))).await?;
        }
        Ok(())
    }

    /// Takes the rules out.
    pub(super) async fn lower(&self) -> Result<(), ToolError> {
        for family in FAMILIES {
            change(family, |listing| present(listing, &self.chains(family.reject_with))).await?;
        }
        Ok(())
    }

    /// TCP is answered by a reset: the kernel sends only so many ICMP messages a second.
    fn chains(&self, reject_with: &str) -> [Chain; 2] {
        let bridge = &self.bridge;
        let out = format!("-i {bridge} ! -o {bridge}");
        let new = "-m conntrack ! --ctstate RELATED,ESTABLISHED";
        [
            Chain {
                name: format!("{bridge}-OUT"),
                hook: "FORWARD",
                rules: [
                    format!("{out} -p tcp -j REJECT --reject-with tcp-reset"),
                    format!("{out} -j REJECT --reject-with {reject_with}"),
                ],
            },
            Chain {
                name: format!("{bridge}-IN"),
                hook: "INPUT",
                rules: [
                    format!("-i {bridge} -p tcp {new} -j REJECT --reject-with tcp-reset"),
                    format!("-i {bridge} {new} -j REJECT --reject-with {reject_with}"),
                ],
            },
        ]
    }
}

async fn change(family: Family, input: impl Fn(&str) -> Option<String>) -> Result<(), ToolError> {
    let listing = Tool::new(family.list).args(["-w", "-S"]).run().await?.stdout;
    if let Some(input) = input(&listing) {
        // All of it or nothing: there is no moment with half of the rules.
        Tool::new(family.restore).args(["-w", "--noflush"]).stdin(input).run().await?;
    }
    Ok(())
}

/// The input for `iptables-restore` that puts right what `listing` (of `iptables -S`) lacks.
fn missing(listing: &str, chains: &[Chain]) -> Option<String> {
    let of_chain = |name: &str| -> Vec<&str> {
        let appended = format!("-A {name} ");
        listing.lines().filter_map(|line| line.strip_prefix(&appended)).collect()
    };
    let stands = chains.iter().all(|Chain { name, hook, rules }| {
        let first = of_chain(hook).first().is_some_and(|first| *first == format!("-j {name}"));
        first && of_chain(name) == *rules
    });
    if stands {
        return None;
    }
    let mut input = String::from("*filter\n");
    for Chain { name, hook, rules: [tcp, rest] } in chains {
        // Naming a chain makes it, or empties it.
        let jumps = jumps_out(listing, name, hook);
        let _ = write!(
            input,
            ":{name} - [0:0]\n-A {name} {tcp}\n-A {name} {rest}\n{jumps}-I {hook} 1 -j {name}\n"
        );
    }
    Some(input + "COMMIT\n")
}

/// The input for `iptables-restore` that takes out what `listing` shows of ours.
fn present(listing: &str, chains: &[Chain]) -> Option<String> {
    let ours: Vec<_> = chains
        .iter()
        .filter(|chain| listing.lines().any(|line| line == format!("-N {}", chain.name)))
        .collect();
    if ours.is_empty() {
        return None;
    }
    let mut input = String::from("*filter\n");
    for Chain { name, hook, .. } in ours {
        let _ = write!(input, "{}-F {name}\n-X {name}\n", jumps_out(listing, name, hook));
    }
    Some(input + "COMMIT\n")
}

/// The lines that take out every jump from `hook` to `chain`.
fn jumps_out(listing: &str, chain: &str, hook: &str) -> String {
    let jumps = listing.lines().filter(|line| *line == format!("-A {hook} -j {chain}")).count();
    format!("-D {hook} -j {chain}\n").repeat(jumps)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n";
    const RAISED: &str = "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n-N svp0-IN\n-N svp0-OUT\n\
        -A INPUT -j svp0-IN\n-A FORWARD -j svp0-OUT\n\
        -A svp0-IN -i svp0 -p tcp -m conntrack ! --ctstate RELATED,ESTABLISHED -j REJECT \
        --reject-with tcp-reset\n\
        -A svp0-IN -i svp0 -m conntrack ! --ctstate RELATED,ESTABLISHED -j REJECT \
        --reject-with icmp-port-unreachable\n\
        -A svp0-OUT -i svp0 ! -o svp0 -p tcp -j REJECT --reject-with tcp-reset\n\
        -A svp0-OUT -i svp0 ! -o svp0 -j REJECT --reject-with icmp-port-unreachable\n";

    fn chains() -> [Chain; 2] {
        Firewall::of("svp0").chains("icmp-port-unreachable")
    }

    fn repair(listing: &str) -> Option<String> {
        missing(listing, &chains())
    }

    #[test]
    fn rules_of_another_bridge_are_not_ours() {
        let other = RAISED.replace("svp0", "svp1");
        assert!(repair(&other).is_some());
        assert_eq!(present(&other, &chains()), None);
    }

    #[test]
    fn a_bare_machine_gets_both_chains_before_all_other_rules() {
        let input = repair(EMPTY).unwrap();
        assert!(input.starts_with("*filter\n:svp0-OUT - [0:0]\n") && input.ends_with("COMMIT\n"), "{input}");
        assert!(
            input.contains("\n-I FORWARD 1 -j svp0-OUT\n") && input.contains("\n-I INPUT 1 -j svp0-IN\n"),
            "{input}"
        );
        assert!(!input.contains("-D "), "{input}");
    }

    #[test]
    fn what_stands_is_left_alone() {
        assert_eq!(repair(RAISED), None);
        assert_eq!(present(EMPTY, &chains()), None);
    }

    #[test]
    fn a_rule_that_got_before_ours_is_overtaken_again() {
        let overtaken =
            RAISED.replace("-A FORWARD -j svp0-OUT\n", "-A FORWARD -j ACCEPT\n-A FORWARD -j svp0-OUT\n");
        let input = repair(&overtaken).unwrap();
        assert!(input.contains("-D FORWARD -j svp0-OUT\n-I FORWARD 1 -j svp0-OUT\n"), "{input}");
    }

    #[test]
    fn a_rule_that_was_taken_out_of_our_chain_is_put_back() {
        let (without, _) = RAISED.split_once("-A svp0-OUT -i").unwrap();
        assert!(repair(without).is_some());
    }

    #[test]
    fn taking_out_leaves_other_chains_alone() {
        let input = present(RAISED, &chains()).unwrap();
        assert_eq!(
            input,
            "*filter\n-D FORWARD -j svp0-OUT\n-F svp0-OUT\n-X svp0-OUT\n\
             -D INPUT -j svp0-IN\n-F svp0-IN\n-X svp0-IN\nCOMMIT\n"
        );
    }
}
