//! The picture of a report: labels apart, text that stays text, and files that are XML.

use proptest::prelude::*;

use super::*;
use crate::id::Oid;
use crate::optimize::front;
use crate::optimize::report::{Hardware, Interval, SCHEMA, Source};

fn candidate(name: &str, megabytes: f64, increase: f64, spread: f64) -> Candidate {
    Candidate {
        name: name.into(),
        engine: "llama.cpp".into(),
        recipe: name.into(),
        bytes: (megabytes * 1e6) as u64,
        file: None,
        compression: 270.9 / megabytes,
        quality: Some(Quality {
            perplexity: 24.5,
            increase_percent: Interval { value: increase, low: increase - spread, high: increase + spread },
            scored_tokens: 4080,
            divergence: None,
            same_top: None,
        }),
        speed: None,
        estimate: None,
        peak_memory_bytes: None,
        cost: None,
        verdicts: Vec::new(),
        is_on_front: false,
        note: None,
    }
}

fn report(mut candidates: Vec<Candidate>, chosen: Option<&str>) -> Report {
    front::mark(&mut candidates);
    Report {
        schema: SCHEMA.into(),
        source: Source {
            name: "SmolLM2-135M <Instruct> & co".into(),
            weights: Oid::from_bytes([1; 32]),
            bytes: 270_885_952,
            dtype: "F16".into(),
            dequantised_from: Some("Q4_1".into()),
        },
        engine: "llama.cpp".into(),
        hardware: Hardware { name: "dev".into(), fingerprint: "2 cores".into(), threads: 1 },
        protocol: "wikitext2-raw/llama.cpp-512".into(),
        text: Oid::from_bytes([2; 32]),
        calibration: None,
        confidence: 0.95,
        candidates,
        chosen: chosen.map(str::to_owned),
        measured_at: 0,
    }
}

/// The figures of SmolLM2-135M that were measured, with a mixed file: points crowd where people look.
fn real() -> Report {
    let all = vec![
        candidate("Q8_0", 144.8, 0.48, 0.5),
        candidate("Q6_K", 138.4, 0.53, 0.8),
        candidate("Q5_K_M", 112.1, 9.26, 2.4),
        candidate("Q4_K_M", 105.5, 5.22, 1.9),
        candidate("mixed-112MB", 111.6, 1.39, 0.6),
        candidate("mixed-104MB", 104.2, 2.77, 1.4),
        candidate("Q3_K_M", 93.5, 12.5, 3.4),
        candidate("IQ4_NL", 92.1, 19.8, 4.0),
        candidate("Q4_0", 91.7, 21.4, 4.6),
        candidate("mixed-91MB", 91.1, 9.02, 2.0),
        candidate("Q2_K", 88.2, 36.4, 7.0),
    ];
    report(all, Some("mixed-112MB"))
}

fn limits() -> Limits {
    Limits { max_ppl_delta: Some(2.0), max_size_bytes: Some(140_000_000), ..Limits::default() }
}

/// Every text with its box, as the picture has it.
fn texts(svg: &str) -> Vec<(String, Box)> {
    let attribute = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    svg.lines()
        .filter(|line| line.contains("class=\"name") || line.contains("class=\"limit-name"))
        .map(|line| {
            let text = line.split('>').nth(1).unwrap().split('<').next().unwrap().to_owned();
            let (x, y): (f64, f64) =
                (attribute(line, "x").parse().unwrap(), attribute(line, "y").parse().unwrap());
            let width = 7.0 * text.chars().count() as f64;
            let left = match attribute(line, "text-anchor").as_str() {
                "start" => x,
                "middle" => x - width / 2.0,
                _ => x - width,
            };
            (text, Box { left, right: left + width, top: y - 10.0, bottom: y + 3.0 })
        })
        .collect()
}

#[track_caller]
fn assert_apart(svg: &str) {
    let texts = texts(svg);
    for (at, (text, place)) in texts.iter().enumerate() {
        for (other, taken) in &texts[at + 1..] {
            assert!(!place.overlaps(taken), "{text} covers {other}");
        }
    }
}

/// A picture in which names cover each other is no use to anybody: real figures, and each name is there.
#[test]
fn all_names_of_a_real_run_can_be_read() {
    let (report, svg) = (real(), picture(&real(), &limits()));
    assert_apart(&svg);
    let texts = texts(&svg);
    for candidate in &report.candidates {
        assert!(texts.iter().any(|(text, _)| *text == candidate.name), "{}", candidate.name);
    }
    assert!(
        texts.iter().any(|(text, _)| text == "limit 2 %")
            && texts.iter().any(|(text, _)| text == "size limit")
    );
}

/// Names come from users and strangers: none becomes markup.
#[test]
fn text_stays_text() {
    let mut hostile = real();
    hostile.candidates[0].name = "<script>alert('x')</script>&\u{0}\u{1b}".into();
    let svg = picture(&hostile, &limits());
    assert!(!svg.contains("<script") && !svg.contains('\u{0}') && !svg.contains('\u{1b}'));
    assert!(svg.contains("SmolLM2-135M &lt;Instruct&gt; &amp; co"));
    assert_eq!(svg.matches('<').count(), svg.matches('>').count());
}

/// Runs without any figure, or with one, have a picture, too.
#[test]
fn few_points_are_no_problem() {
    for candidates in [vec![], vec![candidate("one", 100.0, 0.0, 0.0)]] {
        let svg = picture(&report(candidates, None), &Limits::default());
        assert!(svg.contains("no candidate passes") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}

proptest! {
    /// Wherever points lie, names lie apart, and every number in the picture is one.
    #[test]
    fn names_lie_apart_wherever_points_lie(places in prop::collection::vec((50.0f64..300.0, -3.0f64..200.0), 0..25)) {
        let named = |(at, (size, increase)): (usize, &(f64, f64))| candidate(&format!("Q{at}_K_M"), *size, *increase, 1.0);
        let svg = picture(&report(places.iter().enumerate().map(named).collect(), Some("Q0_K_M")), &limits());
        assert_apart(&svg);
        prop_assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
