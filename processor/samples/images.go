package samples

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"runtime"

	"golang.org/x/image/draw"
	"golang.org/x/image/webp"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

// ImagesOptions of [NewImages]. The zero value works.
type ImagesOptions struct {
	// MaxPixels is the most pixels (width × height) that an image may have.
	// Default 100 million. What a decoded image takes in memory is up to 8
	// bytes a pixel.
	MaxPixels int
	// Parallel is how many images are decoded at a time; others wait. Default:
	// as many as the program may use CPUs.
	Parallel int
}

// Images makes smaller sizes of an image; see [NewImages].
type Images struct {
	maxPixels int
	slots     chan struct{}
}

// NewImages returns a handler that makes smaller sizes of a JPEG, PNG, GIF (its first
// frame) or WebP image, never larger ones than the image itself.
//
// The content is the image file, with options in the query of the call, if it is
// one:
//
//	size=small              one size, as an image file
//	sizes=1600,800,thumb    these sizes; default large (1600 pixels wide), medium
//	                        (800), small (320) and thumb (96)
//	format=zip|jpeg|png     zip: an archive even of one size
//
// Or it is JSON with the same options:
//
//	{"image": "<base64>", "sizes": [1600, "thumb"], "format": "zip"}
//
// The result of several sizes is a zip with one file each and a manifest.json.
// An image that is transparent somewhere becomes PNG, every other JPEG (quality 85),
// unless the format says so; a JPEG is put on white. Pictures come out
// upright where the EXIF data of a JPEG says how it was taken, and without any
// such data.
//
// Codes of failures: "not-an-image", "image-too-large", "bad-options",
// "bad-content".
func NewImages(o ImagesOptions) *Images {
	parallel := cmp.Or(max(o.Parallel, 0), runtime.GOMAXPROCS(0))
	return &Images{
		maxPixels: cmp.Or(max(o.MaxPixels, 0), 100_000_000),
		slots:     make(chan struct{}, parallel),
	}
}

// picture is one finished file.
type picture struct {
	Name   string `json:"name"`
	File   string `json:"file"`
	Type   string `json:"type"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
	Size   int    `json:"size"` // bytes
	data   []byte
}

// Process makes the sizes of one image.
func (h *Images) Process(ctx context.Context, job *processor.Job) (processor.Result, error) {
	order, data, err := parseOrder(job)
	if err != nil {
		return processor.Result{}, err
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return processor.Result{}, context.Cause(ctx)
	}

	if err := job.Progress(ctx, "decoding", 0, "Reading the image"); err != nil {
		return processor.Result{}, err
	}
	src, format, err := h.decode(ctx, data)
	if err != nil {
		return processor.Result{}, err
	}
	turned := upright
	if format == "jpeg" {
		turned = jpegOrientation(data)
	}

	whole := src.Bounds().Size()
	var pictures []picture
	for i, size := range order.sizes {
		percent := 20 + 70*float64(i)/float64(len(order.sizes))
		if err := job.Progress(ctx, "resizing to "+size.name, percent, fmt.Sprintf("Making size %d of %d", i+1, len(order.sizes))); err != nil {
			return processor.Result{}, err
		}
		scaled, err := scale(ctx, src, fit(whole, size.width, turned))
		if err != nil {
			return processor.Result{}, err
		}
		p, err := encode(turn(scaled, turned), size.name, order.format)
		if err != nil {
			return processor.Result{}, err
		}
		pictures = append(pictures, p)
		src = scaled // the next one is smaller; turned like the original
	}

	if order.single {
		return processor.Bytes(pictures[0].Type, pictures[0].data), nil
	}
	if err := job.Progress(ctx, "packing", 95, "Packing the files"); err != nil {
		return processor.Result{}, err
	}
	archive, err := pack(pictures)
	if err != nil {
		return processor.Result{}, err
	}
	return processor.Bytes("application/zip", archive), nil
}

// formats are those that can be read.
var formats = map[string]struct {
	magic  string // "?" is any byte
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
}{
	"jpeg": {"\xff\xd8\xff", jpeg.DecodeConfig, jpeg.Decode},
	"png":  {"\x89PNG\r\n\x1a\n", png.DecodeConfig, png.Decode},
	"gif":  {"GIF8?a", gif.DecodeConfig, firstFrame},
	"webp": {"RIFF????WEBP", webp.DecodeConfig, webp.Decode},
}

// sniff returns the format of an image file by its first bytes, whatever media type was
// claimed; "" if it is none.
func sniff(data []byte) string {
	for name, f := range formats {
		fits := len(data) >= len(f.magic)
		for i := 0; fits && i < len(f.magic); i++ {
			fits = f.magic[i] == '?' || f.magic[i] == data[i]
		}
		if fits {
			return name
		}
	}
	return ""
}

// decode reads an image, after a look at how large it will be.
func (h *Images) decode(ctx context.Context, data []byte) (image.Image, string, error) {
	name := sniff(data)
	if name == "" {
		return nil, "", processor.Fail("not-an-image", "This is not a JPEG, PNG, GIF or WebP image.", nil)
	}
	format := formats[name]
	config, err := format.config(bytes.NewReader(data))
	if err != nil || config.Width <= 0 || config.Height <= 0 {
		return nil, "", processor.Fail("not-an-image", "The image is damaged.", err)
	}
	if config.Width > h.maxPixels/config.Height {
		return nil, "", processor.Fail("image-too-large", fmt.Sprintf("The image has %d × %d pixels, more than the %d million allowed.",
			config.Width, config.Height, h.maxPixels/1_000_000), nil)
	}
	src, err := format.decode(&contextReader{ctx, bytes.NewReader(data)})
	if ctx.Err() != nil {
		return nil, "", context.Cause(ctx)
	}
	if err != nil {
		return nil, "", processor.Fail("not-an-image", "The image is damaged.", err)
	}
	return src, name, nil
}

// contextReader stops a decoder when ctx ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

// firstFrame decodes the first frame of a GIF on its canvas, which may be larger.
func firstFrame(r io.Reader) (image.Image, error) {
	var head bytes.Buffer
	config, err := gif.DecodeConfig(io.TeeReader(r, &head))
	if err != nil {
		return nil, err
	}
	frame, err := gif.Decode(io.MultiReader(&head, r))
	if err != nil {
		return nil, err
	}
	canvas := image.NewRGBA(image.Rect(0, 0, config.Width, config.Height))
	draw.Draw(canvas, frame.Bounds(), frame, frame.Bounds().Min, draw.Src)
	return canvas, nil
}

// encode writes one picture in the format that suits it, unless one is asked for.
func encode(m *image.RGBA, name, format string) (picture, error) {
	if format != "jpeg" && format != "png" {
		format = "jpeg"
		if !m.Opaque() {
			format = "png"
		}
	}
	var file bytes.Buffer
	var err error
	if format == "png" {
		err = png.Encode(&file, m)
	} else {
		err = jpeg.Encode(&file, onWhite(m), &jpeg.Options{Quality: 85})
	}
	if err != nil {
		return picture{}, fmt.Errorf("encode %s as %s: %w", name, format, err)
	}
	extension := map[string]string{"jpeg": ".jpg", "png": ".png"}[format]
	return picture{
		Name: name, File: name + extension, Type: "image/" + format,
		Width: m.Rect.Dx(), Height: m.Rect.Dy(), Size: file.Len(), data: file.Bytes(),
	}, nil
}

func onWhite(m *image.RGBA) *image.RGBA {
	if m.Opaque() {
		return m
	}
	flat := image.NewRGBA(m.Rect)
	draw.Draw(flat, flat.Rect, image.White, image.Point{}, draw.Src)
	draw.Draw(flat, flat.Rect, m, m.Rect.Min, draw.Over)
	return flat
}

// pack puts the files into a zip, with a list of them. The same pictures make the same
// bytes.
func pack(pictures []picture) ([]byte, error) {
	manifest, err := json.MarshalIndent(map[string]any{"images": pictures}, "", "  ")
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	add := func(name string, data []byte, method uint16) error {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		return err
	}
	err = add("manifest.json", manifest, zip.Deflate)
	for _, p := range pictures {
		err = errors.Join(err, add(p.File, p.data, zip.Store)) // compressed already
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	return archive.Bytes(), nil
}

func isJSON(mediaType string) bool { return lifecycle.IsJSON(mediaType) }
