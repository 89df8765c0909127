"""Changes of images: random ones in training, fixed ones before it, on the CPU and on the device."""
