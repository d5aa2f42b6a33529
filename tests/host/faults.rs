//! What happens when something goes wrong: a system call, a disk, the parser, a signal, a neighbour, an attacker.

mod disks;
mod hostile;
mod neighbours;
mod parsers;
mod syscalls;
