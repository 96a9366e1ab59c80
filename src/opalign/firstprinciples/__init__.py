"""Where spectra come from: candidates, engines that compute them, corrections and campaigns."""
