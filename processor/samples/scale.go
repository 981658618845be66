package samples

import (
	"context"
	"image"

	"golang.org/x/image/draw"
)

// fit returns the size of a picture that is at most width pixels wide once it has
// been turned, as it is before that. It is never larger than the source.
func fit(src image.Point, width int, o orientation) image.Point {
	across := src.X
	if o.sideways() {
		across = src.Y
	}
	if across <= width {
		return src
	}
	shrink := func(n int) int { return max(1, (n*width+across/2)/across) }
	return image.Pt(shrink(src.X), shrink(src.Y))
}

// band is how many rows or columns are scaled at a time. The scaler keeps 32 bytes for
// each pixel on the way, which for a whole photo would be hundreds of megabytes.
const band = 64

// scale resamples src to the given size with a Catmull-Rom kernel: first across,
// in bands of rows, then down, in bands of columns, which is what the kernel does
// anyway. It stops between two bands when ctx ends.
func scale(ctx context.Context, src image.Image, to image.Point) (*image.RGBA, error) {
	from := src.Bounds()
	across := image.NewRGBA(image.Rect(0, 0, to.X, from.Dy()))
	for y := 0; y < from.Dy(); y += band {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		rows := image.Rect(0, y, to.X, min(y+band, from.Dy()))
		draw.CatmullRom.Scale(across, rows, src, image.Rect(from.Min.X, from.Min.Y+y, from.Max.X, from.Min.Y+rows.Max.Y), draw.Src, nil)
	}
	if to.Y == from.Dy() {
		return across, nil
	}
	down := image.NewRGBA(image.Rectangle{Max: to})
	for x := 0; x < to.X; x += band {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		columns := image.Rect(x, 0, min(x+band, to.X), to.Y)
		draw.CatmullRom.Scale(down, columns, across, image.Rect(x, 0, columns.Max.X, from.Dy()), draw.Src, nil)
	}
	return down, nil
}
