use super::*;
use crate::ops::testing::{assert_close, fixture, here, on_every_device, random};

#[test]
fn agrees_with_pytorch() {
    on_every_device(|| {
        for (name, max_norm) in [("clip_grad_norm", 1.5), ("clip_grad_norm_within", 100.0)] {
            let case = fixture(name);
            let mut grads = [0, 1, 2].map(|i| case.tensor(&format!("grad_{i}")));
            let norm = clip_grad_norm(&mut grads, max_norm).unwrap();
            assert_close("norm", norm.data(), case.tensor("total_norm").data(), 1e-6);
            for (i, grad) in grads.iter().enumerate() {
                case.close(&format!("clipped_{i}"), grad, 1e-6);
            }
        }
    });
}

#[test]
fn large_gradients_and_mistakes() {
    on_every_device(|| {
        let mut g = [random(&[200_003], 1), random(&[1], 2), random(&[0], 3)];
        let all = g.iter().flat_map(|t| t.data().to_vec());
        let want = all.map(|g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
        let norm = clip_grad_norm(&mut g, 1.0).unwrap().item().unwrap();
        assert!((f64::from(norm) - want).abs() < 1e-6 * want);
        assert!((clip_grad_norm(&mut g, 2.0).unwrap().item().unwrap() - 1.0).abs() < 1e-5);
        let bad = Tensor::from_vec(vec![f32::NAN, 1.0], &[2]).unwrap();
        let mut bad = [here(bad)];
        let norm = clip_grad_norm(&mut bad, 1e-3).unwrap();
        assert!(norm.item().unwrap().is_nan());
        assert_eq!(bad[0].data()[1], 1.0);
    });
    assert!(clip_grad_norm(&mut [], f32::NAN).is_err());
    assert_eq!(clip_grad_norm(&mut [], 1.0).unwrap().item().unwrap(), 0.0);
}
