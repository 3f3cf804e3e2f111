//! The Linux system calls that no safe crate offers: `recvmmsg` with its control messages, socket
//! options, `ppoll`, `eventfd`. Safe functions come out; a call's outcome is an [`io::Result`].
//!
//! What the kernel writes (addresses, control messages) is parsed as octets in safe code.
#![expect(unsafe_code, reason = "system calls; the only module with unsafe code")]

use std::fs::File;
use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libc::{c_int, c_void, socklen_t};
use otlp_wire::UnixNanos;

/// Messages that one [`ReceiveBuffers::receive`] takes at most; bounds the headers on the stack.
pub(super) const MAX_MESSAGES: usize = 64;

/// Buffers lie this much further apart than they are long. At a distance of 64 KiB the first octets
/// of all of them would compete for the same few lines of the processor's caches.
const STAGGER: usize = 1600;

/// A `sockaddr_in6`, the longest address that a UDP socket of ours reports.
const NAME_OCTETS: usize = size_of::<libc::sockaddr_in6>();

/// Room for a time-stamp (32 octets with its header) and a drop counter (24).
const CONTROL_OCTETS: usize = 64;

/// The kernel reads and writes control messages at the alignment of a `long`.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_OCTETS]);

/// What `recvmmsg` said about one datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    /// Octets in the buffer.
    pub(super) octets: usize,
    /// The datagram was longer than the buffer; its end is lost.
    pub(super) truncated: bool,
    /// As the socket's family shows it; `None` for a family that is not IP.
    pub(super) source: Option<SocketAddr>,
    /// `SO_TIMESTAMPNS`: when the kernel took the datagram.
    pub(super) stamp: Option<UnixNanos>,
    /// `SO_RXQ_OVFL`: datagrams the socket had dropped when this one was queued; wraps at 2^32.
    pub(super) drops: Option<u32>,
}

/// Memory that `recvmmsg` fills. Allocated zeroed, so that pages cost nothing until a datagram
/// reaches them.
pub(super) struct ReceiveBuffers {
    payloads: Box<[u8]>,
    payload_octets: usize,
    names: Box<[[u8; NAME_OCTETS]]>,
    controls: Box<[Control]>,
    received: Vec<Received>,
    call: Call,
}

/// The system call that takes datagrams. Where one is refused (an old kernel, a seccomp filter), the next does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Call {
    Recvmmsg,
    Recvmsg,
    /// Without time-stamps and drop counts.
    Recvfrom,
}

impl Call {
    const fn name(self) -> &'static str {
        match self {
            Self::Recvmmsg => "recvmmsg",
            Self::Recvmsg => "recvmsg",
            Self::Recvfrom => "recvfrom",
        }
    }

    const fn next(self) -> Option<Self> {
        match self {
            Self::Recvmmsg => Some(Self::Recvmsg),
            Self::Recvmsg => Some(Self::Recvfrom),
            Self::Recvfrom => None,
        }
    }
}

/// Whether an error says that the call itself is refused, and not what it was to do.
fn is_refusal(error: &io::Error) -> bool {
    const REFUSALS: [c_int; 5] = [
        libc::ENOSYS,
        libc::EPERM,
        libc::EACCES,
        libc::EOPNOTSUPP,
        libc::EINVAL,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| REFUSALS.contains(&code))
}

impl ReceiveBuffers {
    /// Room for `messages` (at most [`MAX_MESSAGES`]) datagrams of up to `payload_octets`.
    pub(super) fn new(messages: usize, payload_octets: usize) -> Self {
        let messages = messages.clamp(1, MAX_MESSAGES);
        Self {
            payloads: vec![0; messages * (payload_octets + STAGGER)].into_boxed_slice(),
            payload_octets,
            names: vec![[0; NAME_OCTETS]; messages].into_boxed_slice(),
            controls: vec![Control([0; CONTROL_OCTETS]); messages].into_boxed_slice(),
            received: Vec::with_capacity(messages),
            call: Call::Recvmmsg,
        }
    }

    /// Begins with another call.
    #[cfg(test)]
    pub(super) fn with_call(self, call: Call) -> Self {
        Self { call, ..self }
    }

    /// How many datagrams one call takes at most.
    pub(super) fn capacity(&self) -> usize {
        self.names.len()
    }

    /// Takes what the socket holds, up to the capacity, without waiting. An empty socket gives 0. A call that the system
    /// refuses is replaced by another, for good.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        loop {
            let error = match self.receive_by(self.call, socket) {
                Err(error) if is_refusal(&error) => error,
                outcome => return outcome,
            };
            let Some(next) = self.call.next() else {
                return Err(error);
            };
            tracing::warn!(
                refused = self.call.name(),
                %error,
                instead = next.name(),
                "the system refuses a call to receive several datagrams at once: receiving them one by one, which costs more"
            );
            self.call = next;
        }
    }

    fn receive_by(&mut self, call: Call, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.received.clear();
        // SAFETY: an iovec of a null pointer and no octets is valid.
        let mut iovecs: [libc::iovec; MAX_MESSAGES] = unsafe { zeroed() };
        // SAFETY: all-zero is a valid mmsghdr: null pointers with zero lengths, no flags.
        let mut headers: [libc::mmsghdr; MAX_MESSAGES] = unsafe { zeroed() };
        let mut prepared = 0;
        for ((((header, iovec), payload), name), control) in headers
            .iter_mut()
            .zip(&mut iovecs)
            .zip(
                self.payloads
                    .chunks_exact_mut(self.payload_octets + STAGGER),
            )
            .zip(&mut self.names)
            .zip(&mut self.controls)
        {
            iovec.iov_base = payload.as_mut_ptr().cast();
            iovec.iov_len = self.payload_octets;
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = name.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = NAME_OCTETS as socklen_t;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL_OCTETS as _;
            prepared += 1;
        }
        let count = match call {
            Call::Recvmmsg => retry_interrupted(|| {
                // SAFETY: the first `prepared` headers point to memory that `self` and this frame own
                // and borrow mutably for the call, each with its true length.
                unsafe {
                    libc::recvmmsg(
                        socket.as_raw_fd(),
                        headers.as_mut_ptr(),
                        prepared,
                        libc::MSG_DONTWAIT as _,
                        ptr::null_mut(),
                    )
                }
            })
            .map(|count| count as usize),
            Call::Recvmsg | Call::Recvfrom => one_by_one(
                socket,
                &mut headers[..prepared as usize],
                call == Call::Recvfrom,
            ),
        };
        let count = match count {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        for ((header, name), control) in headers
            .iter()
            .zip(&self.names)
            .zip(&self.controls)
            .take(count)
        {
            let control_octets = CONTROL_OCTETS.min(header.msg_hdr.msg_controllen as _);
            let mut received = Received {
                octets: (header.msg_len as usize).min(self.payload_octets),
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                source: parse_name(name),
                stamp: None,
                drops: None,
            };
            parse_control(&control.0[..control_octets], &mut received);
            self.received.push(received);
        }
        Ok(count)
    }

    /// The datagrams of the last call, each with the octets that fitted.
    pub(super) fn messages(&self) -> impl Iterator<Item = (&[u8], &Received)> {
        self.payloads
            .chunks_exact(self.payload_octets + STAGGER)
            .zip(&self.received)
            .map(|(payload, received)| (&payload[..received.octets], received))
    }
}

/// Fills the headers one after the other until the socket is empty. An error after the first datagram is the next
/// call's.
fn one_by_one(
    socket: BorrowedFd<'_>,
    headers: &mut [libc::mmsghdr],
    plain: bool,
) -> io::Result<usize> {
    for (at, header) in headers.iter_mut().enumerate() {
        let received = retry_interrupted(|| {
            let message = &mut header.msg_hdr;
            let octets = if plain {
                message.msg_controllen = 0;
                message.msg_flags = 0;
                // SAFETY: the caller's header has one iovec, whose memory is borrowed mutably for the call.
                let iovec = unsafe { &*message.msg_iov };
                // SAFETY: the iovec and the name point to memory of the true length, as does the name's length.
                unsafe {
                    libc::recvfrom(
                        socket.as_raw_fd(),
                        iovec.iov_base,
                        iovec.iov_len,
                        libc::MSG_DONTWAIT | libc::MSG_TRUNC,
                        message.msg_name.cast(),
                        &raw mut message.msg_namelen,
                    )
                }
            } else {
                // SAFETY: as for `recvmmsg`, of one header.
                unsafe { libc::recvmsg(socket.as_raw_fd(), message, libc::MSG_DONTWAIT) }
            };
            // No datagram is longer than 64 KiB.
            octets as c_int
        });
        let octets = match received {
            Ok(octets) => octets as libc::c_uint,
            Err(error) if at == 0 => return Err(error),
            Err(_) => return Ok(at),
        };
        // SAFETY: as above.
        let room = unsafe { (*header.msg_hdr.msg_iov).iov_len };
        if octets as usize > room {
            header.msg_hdr.msg_flags |= libc::MSG_TRUNC;
        }
        header.msg_len = octets;
    }
    Ok(headers.len())
}

/// Reads a `sockaddr_in` or `sockaddr_in6`. The flow label is left out: it says nothing about who
/// sent a datagram.
fn parse_name(name: &[u8; NAME_OCTETS]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes([name[0], name[1]]);
    let port = u16::from_be_bytes([name[2], name[3]]);
    match c_int::from(family) {
        libc::AF_INET => {
            let address = Ipv4Addr::new(name[4], name[5], name[6], name[7]);
            Some(SocketAddrV4::new(address, port).into())
        }
        libc::AF_INET6 => {
            let address: [u8; 16] = *name[8..].first_chunk()?;
            let scope_id = u32::from_ne_bytes(*name[24..].first_chunk()?);
            Some(SocketAddrV6::new(Ipv6Addr::from(address), port, 0, scope_id).into())
        }
        _ => None,
    }
}

/// Walks control messages: each has a length that counts its header, a level and a type, and is
/// padded to the alignment of a `long` (cmsg(3)).
fn parse_control(mut control: &[u8], received: &mut Received) {
    const WORD: usize = size_of::<usize>();
    const HEADER: usize = WORD + 2 * size_of::<c_int>();
    while let Some(header) = control.first_chunk::<HEADER>() {
        let length = usize::from_ne_bytes(first(header));
        let level = c_int::from_ne_bytes(first(&header[WORD..]));
        let kind = c_int::from_ne_bytes(first(&header[WORD + size_of::<c_int>()..]));
        let Some(data) = control.get(HEADER..length) else {
            return;
        };
        if level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPNS {
            received.stamp = parse_timespec(data);
        } else if level == libc::SOL_SOCKET && kind == libc::SO_RXQ_OVFL {
            received.drops = data.first_chunk().map(|drops| u32::from_ne_bytes(*drops));
        }
        control = control
            .get(length.next_multiple_of(WORD)..)
            .unwrap_or_default();
    }
}

/// Seconds and nanoseconds, of 64 bits each, or of 32 on old 32-bit systems.
fn parse_timespec(data: &[u8]) -> Option<UnixNanos> {
    let (seconds, nanos) = match data.len() {
        16.. => (
            i64::from_ne_bytes(first(data)),
            i64::from_ne_bytes(first(&data[8..])),
        ),
        8.. => (
            i64::from(i32::from_ne_bytes(first(data))),
            i64::from(i32::from_ne_bytes(first(&data[4..]))),
        ),
        _ => return None,
    };
    let seconds = u64::try_from(seconds).ok()?;
    let nanos = u64::try_from(nanos).ok()?;
    Some(UnixNanos(
        seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?,
    ))
}

/// The first `N` octets, zeroed where `octets` is shorter.
fn first<const N: usize>(octets: &[u8]) -> [u8; N] {
    octets.first_chunk().copied().unwrap_or([0; N])
}

/// Asks for a receive time-stamp with each datagram.
pub(super) fn enable_timestamps(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SO_TIMESTAMPNS, &(1 as c_int))
}

/// Asks for the socket's drop counter with each datagram, once it isn't zero.
pub(super) fn enable_drop_counter(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_option(socket, libc::SO_RXQ_OVFL, &(1 as c_int))
}

/// Sets the receive buffer past `net.core.rmem_max`; needs CAP_NET_ADMIN.
pub(super) fn force_receive_buffer(socket: BorrowedFd<'_>, octets: usize) -> io::Result<()> {
    let octets = c_int::try_from(octets).unwrap_or(c_int::MAX);
    set_option(socket, libc::SO_RCVBUFFORCE, &octets)
}

/// Lets `program` choose the socket of its reuseport group for each datagram; the socket has to be
/// bound.
pub(super) fn attach_steering(
    socket: BorrowedFd<'_>,
    program: &[libc::sock_filter],
) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: program
            .len()
            .try_into()
            .map_err(|_| io::ErrorKind::InvalidInput)?,
        // The kernel only reads the instructions, which outlive the call.
        filter: program.as_ptr().cast_mut(),
    };
    set_option(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

fn set_option<T>(socket: BorrowedFd<'_>, name: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` octets, which `value` borrows, and each caller gives
    // the type that socket(7) names for the option.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            ptr::from_ref(value).cast::<c_void>(),
            size_of::<T>() as socklen_t,
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The descriptors `3..3 + count`, which the process was started with (sd_listen_fds(3)); none after the first call,
/// and without those that aren't open. They aren't passed on to other programs.
pub(super) fn inherited(count: u32) -> Vec<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let end = FIRST_INHERITED.saturating_add_unsigned(count.min(MAX_INHERITED));
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let take = |fd| {
        // SAFETY: the call takes no pointers, and fails for what isn't open.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
            return None;
        }
        // SAFETY: it is open, whoever started the process gave it to it, and this is the only place that
        // takes it over, once.
        Some(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    (FIRST_INHERITED..end).filter_map(take).collect()
}

/// `SD_LISTEN_FDS_START`.
const FIRST_INHERITED: c_int = 3;
/// More than workers and addresses can have sockets.
const MAX_INHERITED: u32 = 4096;

/// What `SO_MEMINFO` reports about a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketMemory {
    /// Memory that queued datagrams take, with the kernel's overhead; an upper bound.
    pub(super) queued_octets: u32,
    /// Datagrams dropped since the socket was made; wraps at 2^32.
    pub(super) drops: u32,
}

/// Reads the socket's memory figures (Linux 4.12 and later).
pub(super) fn socket_memory(socket: BorrowedFd<'_>) -> io::Result<SocketMemory> {
    // linux/sock_diag.h: SK_MEMINFO_VARS is 9 and may grow; the kernel fills what fits.
    let mut figures = [0_u32; 16];
    let mut length = size_of_val(&figures) as socklen_t;
    // SAFETY: the kernel writes at most `length` octets, which `figures` has, and the new length.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            figures.as_mut_ptr().cast::<c_void>(),
            &raw mut length,
        )
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(SocketMemory {
        queued_octets: figures[SK_MEMINFO_RMEM_ALLOC],
        drops: figures[SK_MEMINFO_DROPS],
    })
}

/// linux/sock_diag.h.
const SK_MEMINFO_RMEM_ALLOC: usize = 0;
const SK_MEMINFO_DROPS: usize = 8;

/// asm-generic/socket.h; MIPS and PowerPC share it, SPARC (not supported) differs.
const SO_MEMINFO: c_int = 55;

/// An eventfd: readable from a write to it until the next read.
pub(super) fn event() -> io::Result<File> {
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// An entry for [`wait`] that asks for readability.
pub(super) fn readable(fd: BorrowedFd<'_>) -> libc::pollfd {
    libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    }
}

/// Waits until one of `entries` is ready or `timeout` has passed; `None` waits for
/// ever. A signal may end it early.
pub(super) fn wait(entries: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    let timeout_of = timeout;
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos() as _,
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    for entry in &mut *entries {
        entry.revents = 0;
    }
    // SAFETY: `entries` is borrowed mutably with its true length; `timeout` is null or points into
    // this frame; a null signal mask is allowed.
    let outcome = unsafe {
        libc::ppoll(
            entries.as_mut_ptr(),
            entries.len() as libc::nfds_t,
            timeout,
            ptr::null(),
        )
    };
    if outcome >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        error if is_refusal(&error) => wait_coarsely(entries, timeout_of),
        error => Err(error),
    }
}

/// As [`wait`], where the system refuses `ppoll`: to the millisecond.
fn wait_coarsely(entries: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.map_or(-1, |timeout| {
        // Rounded up, for a timeout of 0 would not wait at all.
        c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
    });
    // SAFETY: `entries` is borrowed mutably with its true length.
    let outcome =
        unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout) };
    if outcome >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        error => Err(error),
    }
}

fn retry_interrupted(mut call: impl FnMut() -> c_int) -> io::Result<c_int> {
    loop {
        let outcome = call();
        if outcome >= 0 {
            return Ok(outcome);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
