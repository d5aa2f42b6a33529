//! Network rules.

use crate::service::{AbiName, Family, Network, SocketType};

/// What sockets are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Connections come in.
    Listen,
    /// Connections go out.
    Connect,
    /// Either.
    Both,
}

/// Sockets of a family and a type, and what they are for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sockets {
    pub(super) used: Use,
    /// None is every family.
    pub(super) family: Option<Family>,
    /// None is those that are usual in the family.
    pub(super) socket: Option<SocketType>,
}

impl Sockets {
    pub(super) fn of(network: Network, used: Use) -> Self {
        Self { used, family: network.family, socket: network.socket }
    }

    /// The rules that allow them.
    ///
    /// From 4.0 on, rules tell what is done with a socket, and the kernel asks them so: one that only listens cannot
    /// connect (apparmor.d(5), NETWORK ACCESS EXPR). Sockets that come from `accept` send and receive.
    pub(super) fn rules(self, abi: &AbiName) -> Vec<String> {
        const COMMON: &str = "create, getattr, getopt, receive, send, setattr, setopt, shutdown";
        let operations = match self.used {
            _ if !abi.tells_socket_operations() => String::new(),
            Use::Both => String::new(),
            Use::Listen => format!("(accept, bind, listen, {COMMON}) "),
            Use::Connect => format!("(connect, {COMMON}) "),
        };
        let family = self.family.map_or(String::new(), |family| format!("{family} "));
        self.types().iter().map(|socket| format!("network {operations}{family}{socket},")).collect()
    }

    fn types(self) -> Vec<SocketType> {
        match (self.socket, self.family) {
            (Some(socket), _) => vec![socket],
            (None, Some(Family::Netlink | Family::Packet)) => vec![SocketType::Dgram, SocketType::Raw],
            (None, Some(Family::Can)) => vec![SocketType::Dgram, SocketType::Raw],
            (None, Some(Family::Alg)) => vec![SocketType::Seqpacket],
            (None, _) => vec![SocketType::Dgram, SocketType::Stream],
        }
    }
}
