//! Rings, coalescing, channels and features of network devices by ethtool's netlink family, shown as files below `/@ethtool/DEVICE/`.
//!
//! Messages are made and read by pure functions; one short socket per question carries them. A kernel or driver that does not know a question leaves
//! its files out. No external program is run.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvmsg, sendmsg, setsockopt, socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::TimeVal;

use crate::facts::part;
use crate::snapshot::Snapshot;

/// Devices that are asked; `check` has to end in time.
const DEVICES_MAX: usize = 32;
/// How long one answer may take, microseconds.
const ANSWER_US_MAX: i64 = 50_000;
/// Largest answer, bytes; the kernel's are below a page.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

const CONTROL_FAMILY: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
const ERROR: u16 = 2;
const NESTED: u16 = 0x8000;
const HEADER: u16 = 1;
const DEVICE_NAME: u16 = 2;
const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;
/// What the device can change, what is asked of it, what is on.
const FEATURES_HARDWARE: u16 = 2;
const FEATURES_WANTED: u16 = 3;
const FEATURES_ACTIVE: u16 = 4;
/// Parts of a set of switches: its list, an entry, and of an entry its name and that it is on.
const SET_NO_MASK: u16 = 1;
const SET_LIST: u16 = 3;
const SET_ENTRY: u16 = 1;
const ENTRY_NAME: u16 = 2;
const ENTRY_ON: u16 = 3;

/// A question: folder, command to get, command to set, and its values.
struct Question {
    folder: &'static str,
    get: u8,
    set: u8,
    values: &'static [Attribute],
}

impl Question {
    /// Switches have names in the messages themselves; only those are shown that the device can change.
    fn is_features(&self) -> bool {
        self.get == FEATURES_GET
    }
}

/// A value: file name, attribute, width in bytes.
struct Attribute {
    name: &'static str,
    id: u16,
    bytes: usize,
}

const fn switch(name: &'static str) -> Attribute {
    Attribute { name, id: 0, bytes: 1 }
}

const fn wide(name: &'static str, id: u16) -> Attribute {
    Attribute { name, id, bytes: 4 }
}

/// Numbers of `linux/ethtool_netlink.h`.
const QUESTIONS: &[Question] = &[
    Question { folder: "rings", get: 15, set: 16, values: &[wide("rx_max", 2), wide("tx_max", 5), wide("rx", 6), wide("tx", 9)] },
    Question { folder: "channels", get: 17, set: 18, values: &[wide("combined_max", 5), wide("combined", 9)] },
    Question {
        folder: "coalesce",
        get: 19,
        set: 20,
        values: &[wide("rx_usecs", 2), wide("tx_usecs", 6), Attribute { name: "adaptive_rx", id: 11, bytes: 1 }],
    },
    Question {
        folder: "features",
        get: FEATURES_GET,
        set: FEATURES_SET,
        values: &[
            switch("rx-gro"),
            switch("rx-lro"),
            switch("rx-ntuple-filter"),
            switch("tx-generic-segmentation"),
            switch("tx-tcp-segmentation"),
        ],
    },
];

/// Adds what the kernel tells about each device that has a driver.
pub(crate) fn read_into(snapshot: &mut Snapshot) {
    let devices: Vec<String> =
        snapshot.matching("/sys/class/net/*/device@").map(|(path, _)| part(path, 4).to_owned()).take(DEVICES_MAX).collect();
    if devices.is_empty() {
        return;
    }
    let Ok(channel) = Channel::open() else { return };
    for device in devices {
        for question in QUESTIONS {
            let Ok(answer) = channel.get(question, &device) else { continue };
            for (name, value) in values(question, &answer) {
                snapshot.insert(format!("/@ethtool/{device}/{}/{name}", question.folder), value.to_string());
            }
        }
    }
}

/// One value.
pub(crate) fn read(path: &str) -> io::Result<String> {
    let (device, question, attribute) = parse_path(path)?;
    let answer = Channel::open()?.get(question, device)?;
    let found = values(question, &answer).into_iter().find(|(name, _)| *name == attribute.name);
    found.map(|(_, value)| value.to_string()).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Sets one value.
pub(crate) fn write(path: &str, text: &str) -> io::Result<()> {
    let (device, question, attribute) = parse_path(path)?;
    let value: u32 = text.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let bytes = value.to_ne_bytes();
    let value = match attribute.bytes {
        1 if value <= 1 => vec![u8::from(value == 1)],
        1 => return Err(io::ErrorKind::InvalidInput.into()),
        _ => bytes.to_vec(),
    };
    let setting = if question.is_features() { wanted_switch(attribute.name, value == [1]) } else { put(attribute.id, &value) };
    let channel = Channel::open()?;
    channel.ask(&request(channel.family, question.set, REQUEST | ACK, &[device_header(device), setting].concat())).map(drop)
}

/// A set with one switch in it: the others are left as they are.
fn wanted_switch(name: &str, on: bool) -> Vec<u8> {
    let name = put(ENTRY_NAME, &[name.as_bytes(), &[0]].concat());
    let entry = if on { [name, put(ENTRY_ON, &[])].concat() } else { name };
    put(FEATURES_WANTED | NESTED, &put(SET_LIST | NESTED, &put(SET_ENTRY | NESTED, &entry)))
}

fn parse_path(path: &str) -> io::Result<(&str, &'static Question, &'static Attribute)> {
    let names: Vec<&str> = path.split('/').collect();
    let not_found = || io::Error::from(io::ErrorKind::NotFound);
    let ["", "@ethtool", device, folder, name] = names[..] else { return Err(not_found()) };
    let question = QUESTIONS.iter().find(|q| q.folder == folder).ok_or_else(not_found)?;
    let attribute = question.values.iter().find(|a| a.name == name).ok_or_else(not_found)?;
    Ok((device, question, attribute))
}

/// A socket to the kernel that knows the number of ethtool's family.
struct Channel {
    socket: OwnedFd,
    family: u16,
}

impl Channel {
    fn open() -> io::Result<Channel> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkGeneric)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(0, ANSWER_US_MAX))?;
        let mut channel = Channel { socket, family: 0 };
        let answer = channel.ask(&request(CONTROL_FAMILY, GET_FAMILY, REQUEST, &put(FAMILY_NAME, b"ethtool\0")))?;
        let id = attributes(&answer)
            .find(|(id, _)| *id == FAMILY_ID)
            .and_then(|(_, bytes)| Some(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?)));
        channel.family = id.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        Ok(channel)
    }

    fn get(&self, question: &Question, device: &str) -> io::Result<Vec<u8>> {
        self.ask(&request(self.family, question.get, REQUEST, &device_header(device)))
    }

    /// Sends a message and returns the attributes of the answer.
    fn ask(&self, message: &[u8]) -> io::Result<Vec<u8>> {
        let kernel = NetlinkAddr::new(0, 0);
        sendmsg(self.socket.as_raw_fd(), &[IoSlice::new(message)], &[], MsgFlags::empty(), Some(&kernel))?;
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let received = recvmsg::<NetlinkAddr>(self.socket.as_raw_fd(), &mut parts, None, MsgFlags::empty())?.bytes;
        payload(&buffer[..received])
    }
}

/// A whole message.
fn request(family: u16, command: u8, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let bytes = 16 + 4 + attributes.len();
    let mut message = Vec::with_capacity(bytes);
    message.extend(u32::try_from(bytes).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(1_u32.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend([command, 1, 0, 0]);
    message.extend(attributes);
    message
}

/// One attribute, padded to four bytes.
fn put(id: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = Vec::new();
    attribute.extend(u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    attribute.extend(id.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

fn device_header(device: &str) -> Vec<u8> {
    // The kernel takes names of at most 15 bytes and their end.
    let name: Vec<u8> = device.bytes().take(15).chain([0]).collect();
    put(HEADER | NESTED, &put(DEVICE_NAME, &name))
}

/// The attributes of an answer; an error of the kernel is an error here, its acknowledgement an empty answer.
fn payload(message: &[u8]) -> io::Result<Vec<u8>> {
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = u16::from_ne_bytes(message.get(4..6).and_then(|b| b.try_into().ok()).ok_or_else(bad)?);
    let bytes = u32::from_ne_bytes(message.get(..4).and_then(|b| b.try_into().ok()).ok_or_else(bad)?) as usize;
    if kind == ERROR {
        let code = i32::from_ne_bytes(message.get(16..20).and_then(|b| b.try_into().ok()).ok_or_else(bad)?);
        return if code == 0 { Ok(Vec::new()) } else { Err(io::Error::from_raw_os_error(code.wrapping_neg())) };
    }
    Ok(message.get(20..bytes).ok_or_else(bad)?.to_vec())
}

/// The attributes of a list: number without its marks, and value. Ends at what makes no sense.
fn attributes(mut list: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let bytes = usize::from(u16::from_ne_bytes(list.get(..2)?.try_into().ok()?));
        let id = u16::from_ne_bytes(list.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = list.get(4..bytes)?;
        list = list.get(bytes.next_multiple_of(4)..).unwrap_or(&[]);
        Some((id, value))
    })
}

fn values(question: &Question, answer: &[u8]) -> Vec<(&'static str, u32)> {
    if question.is_features() {
        return switches(question, answer);
    }
    let known = |id: u16| question.values.iter().find(move |a| a.id == id);
    let number = |bytes: &[u8]| -> Option<u32> {
        match bytes {
            [one] => Some(u32::from(*one)),
            _ => Some(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)),
        }
    };
    attributes(answer).filter_map(|(id, bytes)| Some((known(id)?.name, number(bytes)?))).collect()
}

/// The switches that the device can change, with their state.
fn switches(question: &Question, answer: &[u8]) -> Vec<(&'static str, u32)> {
    let names_on = |set: u16| -> Vec<&[u8]> {
        let parts = || attributes(answer).filter(move |(id, _)| *id == set).flat_map(|(_, set)| attributes(set));
        // Without a mask every switch that is listed is on.
        let all = parts().any(|(id, _)| id == SET_NO_MASK);
        let entries = parts().filter(|(id, _)| *id == SET_LIST).flat_map(|(_, list)| attributes(list));
        let on = entries.filter(|(_, entry)| all || attributes(entry).any(|(id, _)| id == ENTRY_ON));
        on.filter_map(|(_, entry)| attributes(entry).find(|(id, _)| *id == ENTRY_NAME)).map(|(_, name)| name).collect()
    };
    let (hardware, active) = (names_on(FEATURES_HARDWARE), names_on(FEATURES_ACTIVE));
    let named = |names: &[&[u8]], wanted: &str| names.iter().any(|name| name.strip_suffix(&[0]) == Some(wanted.as_bytes()));
    let known = question.values.iter().filter(|a| named(&hardware, a.name));
    known.map(|a| (a.name, u32::from(named(&active, a.name)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Vec<u8> {
        let list =
            [put(HEADER | NESTED, &put(DEVICE_NAME, b"eth0\0")), put(2, &4096_u32.to_ne_bytes()), put(6, &256_u32.to_ne_bytes())].concat();
        request(20, 16, 0, &list)
    }

    #[test]
    fn an_answer_is_read_and_any_cut_of_it_is_no_panic() {
        let answer = answer();
        assert_eq!(values(&QUESTIONS[0], &payload(&answer).expect("whole")), [("rx_max", 4096), ("rx", 256)]);
        for n in 0..answer.len() {
            let _ = payload(&answer[..n]).map(|p| values(&QUESTIONS[0], &p));
            let mut bent = answer.clone();
            bent[n] ^= 0xff;
            let _ = payload(&bent).map(|p| values(&QUESTIONS[0], &p));
        }
    }

    #[test]
    fn switches_are_shown_where_the_device_can_change_them() {
        let entry = |name: &str, on: bool| {
            let name = put(ENTRY_NAME, &[name.as_bytes(), &[0]].concat());
            put(SET_ENTRY | NESTED, &if on { [put(1, &7_u32.to_ne_bytes()), name, put(ENTRY_ON, &[])].concat() } else { name })
        };
        let hardware = put(SET_LIST | NESTED, &[entry("rx-lro", true), entry("rx-gro", true), entry("rx-ntuple-filter", false)].concat());
        let active = put(SET_LIST | NESTED, &[entry("rx-gro", false), entry("rx-ntuple-filter", false), entry("other", false)].concat());
        let answer =
            [put(FEATURES_HARDWARE | NESTED, &hardware), put(FEATURES_ACTIVE | NESTED, &[put(SET_NO_MASK, &[]), active].concat())].concat();
        let features = QUESTIONS.last().expect("there are questions");
        assert_eq!(values(features, &answer), [("rx-gro", 1), ("rx-lro", 0)], "the filter is fixed");
        // What is written names one switch, and has the form that is read.
        let wanted = wanted_switch("rx-lro", true);
        let set: Vec<_> = attributes(&wanted).collect();
        let as_answer = [put(FEATURES_HARDWARE | NESTED, set[0].1), put(FEATURES_ACTIVE | NESTED, set[0].1)].concat();
        assert_eq!((set[0].0, values(features, &as_answer)), (FEATURES_WANTED, vec![("rx-lro", 1)]));
        let off = wanted_switch("rx-lro", false);
        assert!(
            attributes(&off).all(|(_, set)| values(features, &put(FEATURES_HARDWARE | NESTED, set)).is_empty()),
            "off is said by not saying on"
        );
    }

    #[test]
    fn an_error_of_the_kernel_is_an_error() {
        let mut message = request(ERROR, 0, 0, &[]);
        message[16..20].copy_from_slice(&(-95_i32).to_ne_bytes());
        assert_eq!(payload(&message).map_err(|e| e.raw_os_error()), Err(Some(95)));
        message[16..20].copy_from_slice(&0_i32.to_ne_bytes());
        assert_eq!(payload(&message).ok(), Some(vec![]));
    }

    /// Sets values of this host to what they are: the kernel takes the message and does not bother the driver.
    #[test]
    fn a_real_value_is_read_and_set_to_itself() {
        let root = crate::sysfs::Root::at("/");
        let mut snapshot =
            Snapshot::read(&root, ["/sys/class/net/*/device@"], std::time::Instant::now() + std::time::Duration::from_secs(5));
        read_into(&mut snapshot);
        let paths = snapshot.matching("/@ethtool/*/rings/rx").chain(snapshot.matching("/@ethtool/*/features/*"));
        for path in paths.map(|(path, _)| path) {
            let now = read(path).expect("it was read before");
            match write(path, &now) {
                Ok(()) => assert_eq!(read(path).ok(), Some(now)),
                // An ordinary user, or a driver that cannot.
                Err(error) => assert!([Some(1), Some(13), Some(95)].contains(&error.raw_os_error()), "{path}: {error}"),
            }
        }
    }

    #[test]
    fn paths_name_values() {
        assert!(parse_path("/@ethtool/eth0/rings/rx").is_ok_and(|(device, q, a)| (device, q.set, a.id) == ("eth0", 16, 6)));
        for bad in ["/@ethtool/eth0/rings", "/@ethtool/eth0/rings/other", "/@ethtool/eth0/other/rx", "/sys/eth0/rings/rx"] {
            assert!(parse_path(bad).is_err(), "{bad}");
        }
        assert!(write("/@ethtool/eth0/rings/rx", "many").is_err());
    }
}
