//! The JSON of Celestia's proofs, read strictly, and base64 with it.
//!
//! Only what such a document may hold is made into values; nothing is allocated beyond the nodes that
//! a proof may have. Nesting in what is skipped is bounded.

use super::celestia::Fields;
use crate::{
    error::{Error, Result},
    nmt::{Params, Proof},
};

/// Arrays and objects within one another that are skipped.
const MAX_DEPTH: u32 = 32;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Longest key that is compared; a longer one is unknown.
const MAX_KEY_LEN: usize = 32;

const SYNTAX: Error = Error::ProofFormat("no JSON of a proof");

/// The document that Go's `json.Marshal` makes.
pub fn write(proof: &Proof) -> String {
    let mut members = Vec::new();
    for (key, number) in [("start", proof.start()), ("end", proof.end())] {
        if number > 0 {
            members.push(format!("\"{key}\":{number}"));
        }
    }
    let nodes: Vec<String> = proof.nodes().map(quoted).collect();
    if !nodes.is_empty() {
        members.push(format!("\"nodes\":[{}]", nodes.join(",")));
    }
    if let Some(node) = proof.leaf_hash() {
        members.push(format!("\"leaf_hash\":{}", quoted(node)));
    }
    if proof.params().ignore_max() {
        members.push("\"is_max_namespace_ignored\":true".into());
    }
    format!("{{{}}}", members.join(","))
}

pub fn read(text: &str, params: Params) -> Result<Fields> {
    let mut reader = Reader {
        rest: text.as_bytes(),
    };
    let mut fields = Fields::default();
    let mut seen = [false; 5];
    reader.object(|reader, key| {
        let known = [
            "start".as_bytes(),
            b"end",
            b"nodes",
            b"leaf_hash",
            b"is_max_namespace_ignored",
        ];
        let Some(member) = known.iter().position(|known| *known == key) else {
            return reader.skip(MAX_DEPTH);
        };
        if std::mem::replace(&mut seen[member], true) {
            return Err(Error::ProofFormat("a member comes twice"));
        }
        if reader.literal(b"null") {
            return Ok(());
        }
        match member {
            0 => fields.start = reader.index()?,
            1 => fields.end = reader.index()?,
            2 => reader.array(|reader| {
                let node = reader.base64(params.node_len())?;
                fields.push_node(params, &node)
            })?,
            3 => fields.leaf_hash = reader.base64(params.node_len())?,
            _ => fields.ignore_max = reader.boolean()?,
        }
        Ok(())
    })?;
    reader.spaces();
    if reader.rest.is_empty() {
        Ok(fields)
    } else {
        Err(SYNTAX)
    }
}

fn quoted(node: &[u8]) -> String {
    let mut text = String::from("\"");
    for three in node.chunks(3) {
        let group = three
            .iter()
            .fold(0_u32, |group, &byte| group << 8 | u32::from(byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = ALPHABET[(group >> (18 - 6 * place) & 63) as usize];
            let letter = if place <= three.len() { letter } else { b'=' };
            text.push(char::from(letter));
        }
    }
    text.push('"');
    text
}

/// JSON text, taken from the front.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn spaces(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Takes `literal` if it comes next.
    fn literal(&mut self, literal: &[u8]) -> bool {
        self.spaces();
        let rest = self.rest.strip_prefix(literal);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn due(&mut self, literal: &[u8]) -> Result<()> {
        self.literal(literal).then_some(()).ok_or(SYNTAX)
    }

    fn object(&mut self, mut member: impl FnMut(&mut Self, &[u8]) -> Result<()>) -> Result<()> {
        self.due(b"{")?;
        if self.literal(b"}") {
            return Ok(());
        }
        loop {
            let mut key = ([0; MAX_KEY_LEN], 0);
            self.string(|byte| {
                if let Some(place) = key.0.get_mut(key.1) {
                    *place = byte;
                }
                key.1 += 1;
            })?;
            self.due(b":")?;
            member(self, key.0.get(..key.1).unwrap_or_default())?;
            if self.literal(b"}") {
                return Ok(());
            }
            self.due(b",")?;
        }
    }

    fn array(&mut self, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.due(b"[")?;
        if self.literal(b"]") {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.literal(b"]") {
                return Ok(());
            }
            self.due(b",")?;
        }
    }

    /// A string, byte by byte; what is escaped above ASCII counts as one unknown byte.
    fn string(&mut self, mut put: impl FnMut(u8)) -> Result<()> {
        self.due(b"\"")?;
        loop {
            let (&byte, rest) = self.rest.split_first().ok_or(SYNTAX)?;
            self.rest = rest;
            match byte {
                b'"' => return Ok(()),
                b'\\' => put(self.escaped()?),
                0x00..=0x1f => return Err(SYNTAX),
                _ => put(byte),
            }
        }
    }

    fn escaped(&mut self) -> Result<u8> {
        let (&letter, rest) = self.rest.split_first().ok_or(SYNTAX)?;
        self.rest = rest;
        Ok(match letter {
            b'"' | b'\\' | b'/' => letter,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (digits, rest) = self.rest.split_first_chunk::<4>().ok_or(SYNTAX)?;
                self.rest = rest;
                let mut code = 0;
                for &digit in digits {
                    code = code << 4 | char::from(digit).to_digit(16).ok_or(SYNTAX)?;
                }
                u8::try_from(code).ok().filter(u8::is_ascii).unwrap_or(0xff)
            }
            _ => return Err(SYNTAX),
        })
    }

    /// A number without sign and fraction, or a string of one.
    fn index(&mut self) -> Result<u64> {
        let is_text = self.literal(b"\"");
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit());
        let count = digits.count();
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        // 19 digits hold every index up to 2^62.
        if count == 0 || count > 19 || (count > 1 && digits[0] == b'0') {
            return Err(Error::ProofFormat("an index is no whole number"));
        }
        if is_text {
            self.rest = self.rest.strip_prefix(b"\"").ok_or(SYNTAX)?;
        }
        let digit = |number: u64, byte: &u8| number * 10 + u64::from(byte - b'0');
        Ok(digits.iter().fold(0, digit))
    }

    fn boolean(&mut self) -> Result<bool> {
        if self.literal(b"true") {
            return Ok(true);
        }
        self.due(b"false").map(|()| false)
    }

    /// A string of base64 for nothing or `len` bytes, with its padding, as there is one way to write.
    fn base64(&mut self, len: usize) -> Result<Vec<u8>> {
        const BAD: Error = Error::ProofFormat("a node is not base64, or has another length");
        let mut bytes = Vec::with_capacity(len + 2);
        let (mut group, mut letters, mut padding) = (0_u32, 0_usize, 0_usize);
        let mut is_bad = false;
        self.string(|letter| {
            let value = ALPHABET.iter().position(|&known| known == letter);
            let value = match value {
                Some(value) if padding == 0 => value as u32,
                None if letter == b'=' => {
                    padding += 1;
                    0
                }
                _ => {
                    is_bad = true;
                    0
                }
            };
            group = group << 6 | value;
            letters += 1;
            if letters.is_multiple_of(4) && bytes.len() < len {
                let [_, three @ ..] = group.to_be_bytes();
                bytes.extend(three);
                group = 0;
            } else {
                is_bad |= bytes.len() >= len;
            }
        })?;
        if letters == 0 {
            return Ok(bytes);
        }
        let kept = (letters / 4 * 3).checked_sub(padding);
        let is_whole = letters.is_multiple_of(4) && padding < 3 && kept == Some(len);
        if is_bad || !is_whole || bytes[len..].iter().any(|&byte| byte != 0) {
            return Err(BAD);
        }
        bytes.truncate(len);
        Ok(bytes)
    }

    /// Any value.
    fn skip(&mut self, depth: u32) -> Result<()> {
        self.spaces();
        match self.rest.first() {
            Some(b'{' | b'[') if depth == 0 => Err(Error::ProofFormat("nested too deeply")),
            Some(b'{') => self.object(|reader, _| reader.skip(depth - 1)),
            Some(b'[') => self.array(|reader| reader.skip(depth - 1)),
            Some(b'"') => self.string(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.literal(b"true") || self.literal(b"false") || self.literal(b"null") => Ok(()),
            _ => Err(SYNTAX),
        }
    }

    fn number(&mut self) -> Result<()> {
        let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let count = self.rest.iter().take_while(is_part).count();
        let (number, rest) = self.rest.split_at(count);
        self.rest = rest;
        let text = str::from_utf8(number).map_err(|_| SYNTAX)?;
        text.parse::<f64>().map(drop).map_err(|_| SYNTAX)
    }
}
