//! What keeps the private engine's containers on this machine: whatever comes from the cluster's bridge towards another interface, or as a
//! new connection to this host, is rejected; IPv4 and IPv6. Rejected, not dropped: dropped, whoever dials out hangs until its time-out.
//!
//! The rules lie in two chains of their own. Not for a user's engine: its firewall is the user's.

use std::fmt::Write;

use crate::tool::{Tool, ToolError};

/// The cluster's bridge, so named that a rule can be written before the bridge is there.
pub(super) const BRIDGE: &str = "svidproof0";

/// Our chain, the built-in chain that goes through it first, and its rules as `iptables -S` prints them.
const CHAINS: [(&str, &str, &str); 2] = [
    ("SVIDPROOF-OUT", "FORWARD", "-i svidproof0 ! -o svidproof0 -j REJECT --reject-with "),
    ("SVIDPROOF-IN", "INPUT", "-i svidproof0 -m conntrack ! --ctstate RELATED,ESTABLISHED -j REJECT --reject-with "),
];

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

/// Puts the rules in, or back where something else took them out or got before them.
pub(super) async fn raise() -> Result<(), ToolError> {
    for family in FAMILIES {
        change(family, |listing| missing(listing, family.reject_with)).await?;
    }
    Ok(())
}

/// Takes the rules out.
pub(super) async fn lower() -> Result<(), ToolError> {
    for family in FAMILIES {
        change(family, present).await?;
    }
    Ok(())
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
fn missing(listing: &str, reject_with: &str) -> Option<String> {
    let of_chain = |name: &str| -> Vec<&str> {
        let appended = format!("-A {name} ");
        listing.lines().filter_map(|line| line.strip_prefix(&appended)).collect()
    };
    let stands = CHAINS.iter().all(|(chain, hook, rule)| {
        let first = of_chain(hook).first().is_some_and(|first| *first == format!("-j {chain}"));
        first && of_chain(chain) == [format!("{rule}{reject_with}")]
    });
    if stands {
        return None;
    }
    let mut input = String::from("*filter\n");
    for (chain, hook, rule) in CHAINS {
        // Naming a chain makes it, or empties it.
        let jumps = jumps_out(listing, chain, hook);
        let _ = write!(input, ":{chain} - [0:0]\n-A {chain} {rule}{reject_with}\n{jumps}-I {hook} 1 -j {chain}\n");
    }
    Some(input + "COMMIT\n")
}

/// The input for `iptables-restore` that takes out what `listing` shows of ours.
fn present(listing: &str) -> Option<String> {
    let ours: Vec<_> = CHAINS.iter().filter(|(chain, ..)| listing.lines().any(|line| line == format!("-N {chain}"))).collect();
    if ours.is_empty() {
        return None;
    }
    let mut input = String::from("*filter\n");
    for (chain, hook, _) in ours {
        let _ = write!(input, "{}-F {chain}\n-X {chain}\n", jumps_out(listing, chain, hook));
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
    const RAISED: &str = "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n-N SVIDPROOF-IN\n-N SVIDPROOF-OUT\n\
        -A INPUT -j SVIDPROOF-IN\n-A FORWARD -j SVIDPROOF-OUT\n\
        -A SVIDPROOF-IN -i svidproof0 -m conntrack ! --ctstate RELATED,ESTABLISHED -j REJECT --reject-with icmp-port-unreachable\n\
        -A SVIDPROOF-OUT -i svidproof0 ! -o svidproof0 -j REJECT --reject-with icmp-port-unreachable\n";

    fn repair(listing: &str) -> Option<String> {
        missing(listing, "icmp-port-unreachable")
    }

    #[test]
    fn rules_are_written_for_the_bridge() {
        assert!(CHAINS.iter().all(|(.., rule)| rule.starts_with(&format!("-i {BRIDGE} "))));
    }

    #[test]
    fn a_bare_machine_gets_both_chains_before_all_other_rules() {
        let input = repair(EMPTY).unwrap();
        assert!(input.starts_with("*filter\n:SVIDPROOF-OUT - [0:0]\n") && input.ends_with("COMMIT\n"), "{input}");
        assert!(input.contains("\n-I FORWARD 1 -j SVIDPROOF-OUT\n") && input.contains("\n-I INPUT 1 -j SVIDPROOF-IN\n"), "{input}");
        assert!(!input.contains("-D "), "{input}");
    }

    #[test]
    fn what_stands_is_left_alone() {
        assert_eq!(repair(RAISED), None);
        assert_eq!(present(EMPTY), None);
    }

    #[test]
    fn a_rule_that_got_before_ours_is_overtaken_again() {
        let overtaken = RAISED.replace("-A FORWARD -j SVIDPROOF-OUT\n", "-A FORWARD -j ACCEPT\n-A FORWARD -j SVIDPROOF-OUT\n");
        let input = repair(&overtaken).unwrap();
        assert!(input.contains("-D FORWARD -j SVIDPROOF-OUT\n-I FORWARD 1 -j SVIDPROOF-OUT\n"), "{input}");
    }

    #[test]
    fn a_rule_that_was_taken_out_of_our_chain_is_put_back() {
        let (without, _) = RAISED.split_once("-A SVIDPROOF-OUT -i").unwrap();
        assert!(repair(without).is_some());
    }

    #[test]
    fn taking_out_leaves_other_chains_alone() {
        let input = present(RAISED).unwrap();
        assert_eq!(
            input,
            "*filter\n-D FORWARD -j SVIDPROOF-OUT\n-F SVIDPROOF-OUT\n-X SVIDPROOF-OUT\n-D INPUT -j SVIDPROOF-IN\n-F SVIDPROOF-IN\n-X SVIDPROOF-IN\nCOMMIT\n"
        );
    }
}
