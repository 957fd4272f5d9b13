//! Bars as a PNG, without a library: a few rectangles, letters of five by seven dots, and stored blocks of zlib.

use std::iter::repeat_n;

const WIDTH: usize = 900;
const ROW: usize = 26;
const LABELS: usize = 330;
const MARGIN: usize = 12;
const SCALE: usize = 2;
const WHITE: u8 = 255;
const BLACK: u8 = 20;
const BAR: u8 = 150;
/// Of a stored block of deflate.
const BLOCK_MAX: usize = 65_535;

/// A title and its bars.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) bars: Vec<Bar>,
}

#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
}

impl Bar {
    pub(super) fn new(label: impl Into<String>, value: f64) -> Self {
        Self { label: label.into(), value }
    }
}

/// One under the other.
pub(super) fn png(charts: &[Chart]) -> Vec<u8> {
    let rows: usize = charts.iter().map(|chart| chart.bars.len() + 2).sum();
    let mut picture = Picture::new(rows * ROW + 2 * MARGIN);
    let mut y = MARGIN;
    for chart in charts {
        picture.text(MARGIN, y, &chart.title);
        y += ROW;
        let largest = chart.bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
        for bar in &chart.bars {
            picture.bar(y, bar, largest);
            y += ROW;
        }
        y += ROW;
    }
    picture.encode()
}

/// Grey.
struct Picture {
    height: usize,
    dots: Vec<u8>,
}

impl Picture {
    fn new(height: usize) -> Self {
        Self { height, dots: vec![WHITE; WIDTH * height] }
    }

    fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, shade: u8) {
        for row in y..(y + height).min(self.height) {
            let start = row * WIDTH;
            self.dots[start + x.min(WIDTH)..start + (x + width).min(WIDTH)].fill(shade);
        }
    }

    fn bar(&mut self, y: usize, bar: &Bar, largest: f64) {
        self.text(MARGIN, y, &bar.label);
        let room = WIDTH - LABELS - 120;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "dots of a picture"
        )]
        let width = if largest > 0.0 { (bar.value / largest * room as f64) as usize } else { 0 };
        self.fill(LABELS, y, width.max(1), 7 * SCALE, BAR);
        self.text(LABELS + width + 6, y, &short(bar.value));
    }

    fn text(&mut self, x: usize, y: usize, text: &str) {
        for (place, letter) in text.chars().enumerate() {
            for (line, dots) in glyph(letter.to_ascii_uppercase()).iter().enumerate() {
                for column in (0..5).filter(|column| dots & (16 >> column) != 0) {
                    let left = x + (place * 6 + column) * SCALE;
                    self.fill(left, y + line * SCALE, SCALE, SCALE, BLACK);
                }
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut header = Vec::new();
        header.extend(number(WIDTH));
        header.extend(number(self.height));
        // Eight bits of grey, nothing special.
        header.extend([8, 0, 0, 0, 0]);
        let lines: Vec<u8> =
            self.dots.chunks(WIDTH).flat_map(|line| std::iter::once(0).chain(line.iter().copied())).collect();
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, data) in [(b"IHDR", header), (b"IDAT", stored(&lines)), (b"IEND", Vec::new())] {
            file.extend(number(data.len()));
            let checked: Vec<u8> = kind.iter().copied().chain(data).collect();
            file.extend(&checked);
            file.extend(crc(&checked).to_be_bytes());
        }
        file
    }
}

fn short(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn number(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes()
}

/// zlib's format with nothing compressed.
fn stored(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let blocks = data.chunks(BLOCK_MAX).count();
    for (place, block) in data.chunks(BLOCK_MAX).enumerate() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(place + 1 == blocks));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    let (mut low, mut high) = (1_u32, 0_u32);
    for byte in data {
        low = (low + u32::from(*byte)) % 65_521;
        high = (high + low) % 65_521;
    }
    out.extend((high << 16 | low).to_be_bytes());
    out
}

fn crc(data: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        repeat_n((), 8)
            .fold(crc ^ u32::from(*byte), |crc, ()| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    };
    !data.iter().fold(u32::MAX, step)
}

/// Seven lines of five dots; a box for what is not here.
fn glyph(letter: char) -> [u8; 7] {
    match letter {
        ' ' => [0; 7],
        '0' => [14, 17, 19, 21, 25, 17, 14],
        '1' => [4, 12, 4, 4, 4, 4, 14],
        '2' => [14, 17, 1, 2, 4, 8, 31],
        '3' => [31, 2, 4, 2, 1, 17, 14],
        '4' => [2, 6, 10, 18, 31, 2, 2],
        '5' => [31, 16, 30, 1, 1, 17, 14],
        '6' => [6, 8, 16, 30, 17, 17, 14],
        '7' => [31, 1, 2, 4, 8, 8, 8],
        '8' => [14, 17, 17, 14, 17, 17, 14],
        '9' => [14, 17, 17, 15, 1, 2, 12],
        'A' => [14, 17, 17, 31, 17, 17, 17],
        'B' => [30, 17, 17, 30, 17, 17, 30],
        'C' => [14, 17, 16, 16, 16, 17, 14],
        'D' => [30, 17, 17, 17, 17, 17, 30],
        'E' => [31, 16, 16, 30, 16, 16, 31],
        'F' => [31, 16, 16, 30, 16, 16, 16],
        'G' => [14, 17, 16, 23, 17, 17, 15],
        'H' => [17, 17, 17, 31, 17, 17, 17],
        'I' => [14, 4, 4, 4, 4, 4, 14],
        'J' => [7, 2, 2, 2, 2, 18, 12],
        'K' => [17, 18, 20, 24, 20, 18, 17],
        'L' => [16, 16, 16, 16, 16, 16, 31],
        'M' => [17, 27, 21, 21, 17, 17, 17],
        'N' => [17, 25, 21, 19, 17, 17, 17],
        'O' => [14, 17, 17, 17, 17, 17, 14],
        'P' => [30, 17, 17, 30, 16, 16, 16],
        'Q' => [14, 17, 17, 17, 21, 18, 13],
        'R' => [30, 17, 17, 30, 20, 18, 17],
        'S' => [15, 16, 16, 14, 1, 1, 30],
        'T' => [31, 4, 4, 4, 4, 4, 4],
        'U' => [17, 17, 17, 17, 17, 17, 14],
        'V' => [17, 17, 17, 17, 17, 10, 4],
        'W' => [17, 17, 17, 21, 21, 27, 17],
        'X' => [17, 17, 10, 4, 10, 17, 17],
        'Y' => [17, 17, 10, 4, 4, 4, 4],
        'Z' => [31, 1, 2, 4, 8, 16, 31],
        '.' => [0, 0, 0, 0, 0, 12, 12],
        ',' => [0, 0, 0, 0, 12, 4, 8],
        ':' => [0, 12, 12, 0, 12, 12, 0],
        '-' => [0, 0, 0, 31, 0, 0, 0],
        '/' => [1, 1, 2, 4, 8, 16, 16],
        '(' => [2, 4, 8, 8, 8, 4, 2],
        ')' => [8, 4, 2, 2, 2, 4, 8],
        _ => [31, 17, 17, 17, 17, 17, 31],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_format() {
        assert_eq!(crc(b"IEND"), 0xAE42_6082);
        assert_eq!(stored(b"Wikipedia")[2 + 5 + 9..], 0x11E6_0398_u32.to_be_bytes());
    }

    #[test]
    fn a_picture_has_a_place_for_every_bar() {
        let bars = vec![Bar::new("one", 1.0), Bar::new("other", 2.0)];
        let file = png(&[Chart { title: "locks per second".to_owned(), bars }]);
        assert_eq!(&file[..8], b"\x89PNG\r\n\x1a\n");
        let height = 4 * ROW + 2 * MARGIN;
        assert_eq!(file[16..24], [number(WIDTH), number(height)].concat());
        // Signature, three chunks' frames, header, and lines with their filters in stored blocks.
        let lines = height * (WIDTH + 1);
        assert_eq!(file.len(), 8 + 3 * 12 + 13 + 2 + 4 + lines + 5 * lines.div_ceil(BLOCK_MAX));
    }
}
