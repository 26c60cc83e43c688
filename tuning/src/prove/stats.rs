//! Means, medians, quantiles and the interval of a mean of few values (Student's t). Pure.

/// The mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The median; 0 of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// A quantile of sorted values, the nearest rank; 0 of nothing.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    sorted[((last as f64 * q).round() as usize).min(last)]
}

/// The mean and half the width of its interval with the chance `alpha` of missing the truth; infinite for fewer than two values.
pub fn interval(values: &[f64], alpha: f64) -> (f64, f64) {
    let mean = mean(values);
    if values.len() < 2 {
        return (mean, f64::INFINITY);
    }
    let n = values.len() as f64;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, t_quantile(1.0 - alpha / 2.0, n - 1.0) * (variance / n).sqrt())
}

/// The quantile `p` (above one half) of Student's t with `df` degrees of freedom, by bisection.
pub fn t_quantile(p: f64, df: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if t_distribution(middle, df) < p { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// The chance that Student's t is at most `t` (not negative).
fn t_distribution(t: f64, df: f64) -> f64 {
    1.0 - 0.5 * incomplete_beta(df / 2.0, 0.5, df / (df + t * t))
}

/// The regularized incomplete beta function by its continued fraction (Lentz's method).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges fast on one side only; the other is its mirror image.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    const TINY: f64 = 1e-300;
    let front = (log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp() / a;
    let (mut c, mut d) = (1.0, 1.0 / clear(1.0 - (a + b) * x / (a + 1.0), TINY));
    let mut fraction = d;
    for m in 1..200 {
        let m = f64::from(m);
        for step in
            [m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)), -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))]
        {
            d = 1.0 / clear(1.0 + step * d, TINY);
            c = clear(1.0 + step / c, TINY);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-14 {
            break;
        }
    }
    front * fraction
}

fn clear(value: f64, tiny: f64) -> f64 {
    if value.abs() < tiny { tiny } else { value }
}

/// The logarithm of the gamma function for positive arguments: Stirling's series after shifting the argument up.
fn log_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 10.0 {
        shift += x.ln();
        x += 1.0;
    }
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_t_distribution_is_that_of_the_books() {
        for (p, df, expected) in
            [(0.975, 1.0, 12.706), (0.975, 4.0, 2.776), (0.975, 9.0, 2.262), (0.975, 30.0, 2.042), (0.995, 6.0, 3.707), (0.95, 7.0, 1.895)]
        {
            let t = t_quantile(p, df);
            assert!((t - expected).abs() < 0.001, "t({p}, {df}) is {t}, not {expected}");
        }
    }

    #[test]
    fn quantiles_and_intervals() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.99), 4.0);
        let (mean, half) = interval(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.05);
        assert!((mean - 3.0).abs() < 1e-12 && (half - 1.963).abs() < 0.001, "{mean} {half}");
        assert_eq!(interval(&[1.0], 0.05).1, f64::INFINITY);
    }
}
