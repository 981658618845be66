package churn

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
)

// picture is what the sample images makes smaller.
var picture = func() []byte {
	img := image.NewRGBA(image.Rect(0, 0, 120, 80))
	for x := range 120 {
		for y := range 80 {
			img.Set(x, y, color.RGBA{uint8(2 * x), uint8(3 * y), 100, 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		panic(err) // never: it writes to memory
	}
	return b.Bytes()
}()
