//! Steady state: whether throughput and p99 of the last seconds still drift, by the confidence interval of their slope.

/// Seconds looked at.
pub const SECONDS: usize = 10;

/// Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
const T95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093,
    2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// Slope of `values` over their index with half the width of its 95 % confidence interval; `None` below three values.
pub fn slope(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len();
    if n < 3 {
        return None;
    }
    let mean_x = (n - 1) as f64 / 2.0;
    let mean_y = values.iter().sum::<f64>() / n as f64;
    let sxx: f64 = (0..n).map(|i| (i as f64 - mean_x).powi(2)).sum();
    let sxy: f64 = values.iter().enumerate().map(|(i, y)| (i as f64 - mean_x) * (y - mean_y)).sum();
    let slope = sxy / sxx;
    let residual: f64 = values.iter().enumerate().map(|(i, y)| (y - mean_y - slope * (i as f64 - mean_x)).powi(2)).sum();
    let t = T95.get(n - 3).copied().unwrap_or(1.96);
    Some((slope, t * (residual / (n - 2) as f64 / sxx).sqrt()))
}

/// Whether the series drifts no more: the interval of its slope holds 0, or the drift over the whole window is below 1 % of the mean.
pub fn is_steady(values: &[f64]) -> bool {
    let Some(window) = values.len().checked_sub(SECONDS).map(|from| &values[from..]) else { return false };
    let Some((slope, half)) = slope(window) else { return false };
    let mean = window.iter().sum::<f64>() / SECONDS as f64;
    slope.abs() <= half || slope.abs() * SECONDS as f64 <= 0.01 * mean.abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_steady_and_a_trend_is_not() {
        let noise = [100.0, 103.0, 98.0, 101.0, 99.0, 102.0, 97.0, 100.0, 103.0, 99.0];
        assert!(is_steady(&noise));
        let climbing: Vec<f64> = noise.iter().enumerate().map(|(i, n)| n + 5.0 * i as f64).collect();
        assert!(!is_steady(&climbing));
        let falling: Vec<f64> = noise.iter().enumerate().map(|(i, n)| n * 0.8f64.powi(i as i32)).collect();
        assert!(!is_steady(&falling));
        assert!(is_steady(&[5.0; 10]), "a constant");
        assert!(!is_steady(&noise[..9]), "too short to tell");
        let (slope, half) = slope(&(0..10).map(|i| 2.0 * f64::from(i)).collect::<Vec<_>>()).expect("ten values");
        assert!((slope - 2.0).abs() < 1e-9 && half < 1e-9);
    }
}
