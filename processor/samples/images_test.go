package samples

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/processor"
)

var (
	red   = color.NRGBA{255, 0, 0, 255}
	green = color.NRGBA{0, 255, 0, 255}
	blue  = color.NRGBA{0, 0, 255, 255}
	white = color.NRGBA{255, 255, 255, 255}
	blank = color.NRGBA{}
)

// quadrants draws four colors: top left, top right, bottom left, bottom right.
func quadrants(w, h int, colors [4]color.NRGBA) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			i := 0
			if x >= w/2 {
				i++
			}
			if y >= h/2 {
				i += 2
			}
			m.SetNRGBA(x, y, colors[i])
		}
	}
	return m
}

// seen returns the colors in the middle of the four quadrants.
func seen(m image.Image) (colors [4]color.NRGBA) {
	b := m.Bounds()
	for i := range colors {
		x := b.Min.X + b.Dx()*(1+2*(i%2))/4
		y := b.Min.Y + b.Dy()*(1+2*(i/2))/4
		colors[i] = color.NRGBAModel.Convert(m.At(x, y)).(color.NRGBA)
	}
	return colors
}

// alike allows for what JPEG does to colors.
func alike(a, b [4]color.NRGBA) bool {
	near := func(x, y uint8) bool { return max(x, y)-min(x, y) <= 20 }
	for i := range a {
		if a[i].A != b[i].A || a[i].A != 0 && (!near(a[i].R, b[i].R) || !near(a[i].G, b[i].G) || !near(a[i].B, b[i].B)) {
			return false
		}
	}
	return true
}

var plain = [4]color.NRGBA{red, green, blue, white}

func asJPEG(m image.Image) []byte {
	var b bytes.Buffer
	_ = jpeg.Encode(&b, m, &jpeg.Options{Quality: 95})
	return b.Bytes()
}

func asPNG(m image.Image) []byte {
	var b bytes.Buffer
	_ = png.Encode(&b, m)
	return b.Bytes()
}

// asGIF writes an animation: the picture in a corner of a larger canvas, then
// something else.
func asGIF(m image.Image, canvas image.Point) []byte {
	palette := color.Palette{blank, red, green, blue, white}
	frames := gif.GIF{Config: image.Config{ColorModel: palette, Width: canvas.X, Height: canvas.Y}, Delay: []int{1, 1}}
	for _, bounds := range []image.Rectangle{m.Bounds(), image.Rect(0, 0, 1, 1)} {
		frame := image.NewPaletted(bounds, palette)
		for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
			for x := bounds.Min.X; x < bounds.Max.X; x++ {
				frame.Set(x, y, m.At(x, y))
			}
		}
		frames.Image = append(frames.Image, frame)
	}
	var b bytes.Buffer
	_ = gif.EncodeAll(&b, &frames)
	return b.Bytes()
}

// asWebP writes a lossless WebP of a picture whose channels are 0 or 255 and that
// is opaque: each channel is then one bit.
func asWebP(m image.Image) []byte {
	var bits []byte
	put := func(value, n int) {
		for i := range n {
			bits = append(bits, byte(value>>i&1))
		}
	}
	size := m.Bounds().Size()
	put(0x2f, 8)
	put(size.X-1, 14)
	put(size.Y-1, 14)
	put(0, 1+3)   // no alpha, version 0
	put(0, 1+1+1) // no transform, no color cache, one set of codes
	for range 3 { // green, red, blue: a code of two symbols
		put(0b11, 2) // simple, two
		put(0, 1+1)  // the first is the single bit 0
		put(255, 8)  // the second
	}
	put(0b101, 3) // alpha: a simple code of one symbol of 8 bits
	put(255, 8)
	put(0b0001, 4) // distance: a simple code of one symbol, 0
	for y := range size.Y {
		for x := range size.X {
			c := color.NRGBAModel.Convert(m.At(x, y)).(color.NRGBA)
			put(int(c.G&1), 1)
			put(int(c.R&1), 1)
			put(int(c.B&1), 1)
		}
	}
	data := make([]byte, (len(bits)+7)/8)
	for i, bit := range bits {
		data[i/8] |= bit << (i % 8)
	}
	if len(data)%2 == 1 {
		data = append(data, 0)
	}
	file := append([]byte("RIFF"), binary.LittleEndian.AppendUint32(nil, uint32(12+len(data)))...)
	file = append(file, "WEBPVP8L"...)
	file = binary.LittleEndian.AppendUint32(file, uint32(len(data)))
	return append(file, data...)
}

// withEXIF puts an orientation into a JPEG.
func withEXIF(file []byte, o int, order binary.AppendByteOrder) []byte {
	tiff := []byte("II*\x00")
	if order.String() == "BigEndian" {
		tiff = []byte("MM\x00*")
	}
	tiff = order.AppendUint32(tiff, 8)
	tiff = order.AppendUint16(tiff, 2)
	tiff = append(tiff, make([]byte, 12)...) // some other tag
	tiff = order.AppendUint16(tiff, 0x0112)
	tiff = order.AppendUint16(tiff, 3)
	tiff = order.AppendUint32(tiff, 1)
	tiff = order.AppendUint16(tiff, uint16(o))
	tiff = append(tiff, 0, 0, 0, 0, 0, 0)
	segment := append([]byte("\xff\xe1"), binary.BigEndian.AppendUint16(nil, uint16(2+6+len(tiff)))...)
	segment = append(append(segment, "Exif\x00\x00"...), tiff...)
	return slices.Concat(file[:2], segment, file[2:])
}

// do runs a handler on one job and returns the steps that it reported.
func do(ctx context.Context, h processor.Handler, c lifecycle.Content, query string) (processor.Result, []string, error) {
	var steps []string
	request := lifecycle.Request{}
	if query != "" {
		request.Call = &lifecycle.Call{Method: "POST", Path: "/", Query: query}
	}
	job := processor.NewJob(request, c, func(p lifecycle.Progress) {
		if p.Step != nil {
			steps = append(steps, *p.Step)
		}
	})
	result, err := h.Process(ctx, job)
	return result, steps, err
}

func code(err error) string {
	if f, ok := errors.AsType[*lifecycle.Failure](err); ok {
		return f.Code
	}
	return fmt.Sprint(err)
}

func TestImagesMakesAllSizes(t *testing.T) {
	content := lifecycle.Content{Type: "application/octet-stream", Data: asPNG(quadrants(2000, 500, plain))}
	result, steps, err := do(t.Context(), NewImages(ImagesOptions{}), content, "")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"decoding", "resizing to large", "resizing to medium", "resizing to small", "resizing to thumb", "packing"}; !slices.Equal(steps, want) {
		t.Errorf("steps %q", steps)
	}
	if result.Type != "application/zip" {
		t.Fatalf("type %s", result.Type)
	}
	archive, err := zip.NewReader(bytes.NewReader(result.Data), int64(len(result.Data)))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct{ Images []picture }
	files := make(map[string][]byte)
	for _, f := range archive.File {
		r, _ := f.Open()
		files[f.Name], _ = io.ReadAll(r)
		_ = r.Close()
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if names := slices.Sorted(maps.Keys(files)); len(names) != 5 {
		t.Errorf("files %q", names)
	}
	widths := map[string]int{"large": 1600, "medium": 800, "small": 320, "thumb": 96}
	for _, p := range manifest.Images {
		m, err := jpeg.Decode(bytes.NewReader(files[p.File]))
		if err != nil {
			t.Fatalf("%s: %v", p.File, err)
		}
		if want := image.Pt(widths[p.Name], widths[p.Name]/4); m.Bounds().Size() != want || p.Width != want.X || p.Height != want.Y || p.Size != len(files[p.File]) {
			t.Errorf("%s is %v, manifest %+v, want %v", p.Name, m.Bounds(), p, want)
		}
		if !alike(seen(m), plain) {
			t.Errorf("%s shows %v", p.Name, seen(m))
		}
	}
}

func TestImagesMakesTheSameOfTheSame(t *testing.T) {
	content := lifecycle.Content{Data: asPNG(quadrants(200, 100, plain))}
	one, _, _ := do(t.Context(), NewImages(ImagesOptions{}), content, "")
	two, _, err := do(t.Context(), NewImages(ImagesOptions{}), content, "")
	if err != nil || !bytes.Equal(one.Data, two.Data) {
		t.Errorf("the archives differ, %v", err)
	}
}

func TestImagesReadsEveryFormat(t *testing.T) {
	half := [4]color.NRGBA{red, blank, blue, blank}
	tests := map[string]struct {
		file   []byte
		query  string
		format string
		size   image.Point
		shows  [4]color.NRGBA
	}{
		"jpeg":                  {asJPEG(quadrants(400, 200, plain)), "size=small", "image/jpeg", image.Pt(320, 160), plain},
		"png":                   {asPNG(quadrants(400, 200, plain)), "size=320", "image/jpeg", image.Pt(320, 160), plain},
		"png as png":            {asPNG(quadrants(400, 200, plain)), "size=320&format=png", "image/png", image.Pt(320, 160), plain},
		"png, transparent":      {asPNG(quadrants(400, 200, half)), "size=small", "image/png", image.Pt(320, 160), half},
		"transparent onto jpeg": {asPNG(quadrants(400, 200, half)), "size=small&format=jpg", "image/jpeg", image.Pt(320, 160), [4]color.NRGBA{red, white, blue, white}},
		"gif":                   {asGIF(quadrants(400, 200, plain), image.Pt(400, 200)), "size=thumb", "image/jpeg", image.Pt(96, 48), plain},
		"gif, small frame":      {asGIF(quadrants(100, 100, [4]color.NRGBA{red, red, red, red}), image.Pt(200, 200)), "size=thumb", "image/png", image.Pt(96, 96), [4]color.NRGBA{red, blank, blank, blank}},
		"webp":                  {asWebP(quadrants(400, 200, plain)), "size=thumb", "image/jpeg", image.Pt(96, 48), plain},
		"never larger":          {asPNG(quadrants(40, 20, plain)), "size=large", "image/jpeg", image.Pt(40, 20), plain},
		"very flat":             {asPNG(quadrants(4000, 2, plain)), "size=thumb&format=png", "image/png", image.Pt(96, 1), [4]color.NRGBA{}},
		"gray":                  {asPNG(image.NewGray(image.Rect(0, 0, 200, 200))), "size=thumb", "image/jpeg", image.Pt(96, 96), [4]color.NRGBA{{A: 255}, {A: 255}, {A: 255}, {A: 255}}},
		"one pixel":             {asPNG(quadrants(1, 1, [4]color.NRGBA{red, red, red, red})), "size=1", "image/jpeg", image.Pt(1, 1), [4]color.NRGBA{red, red, red, red}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			result, _, err := do(t.Context(), NewImages(ImagesOptions{}), lifecycle.Content{Type: "image/whatever", Data: test.file}, test.query)
			if err != nil {
				t.Fatal(err)
			}
			m, _, err := image.Decode(bytes.NewReader(result.Data))
			if err != nil {
				t.Fatal(err)
			}
			if result.Type != test.format || m.Bounds().Size() != test.size {
				t.Errorf("%s of %v, want %s of %v", result.Type, m.Bounds().Size(), test.format, test.size)
			}
			if name != "very flat" && !alike(seen(m), test.shows) {
				t.Errorf("shows %v, want %v", seen(m), test.shows)
			}
		})
	}
}

// A picture stored in any of the eight ways comes out upright.
func TestImagesTurnsJPEGsUpright(t *testing.T) {
	stored := map[int][4]color.NRGBA{ // what the file holds, for plain to be seen
		1: {red, green, blue, white},
		2: {green, red, white, blue},
		3: {white, blue, green, red},
		4: {blue, white, red, green},
		5: {red, blue, green, white},
		6: {green, white, red, blue},
		7: {white, green, blue, red},
		8: {blue, red, white, green},
	}
	for o, colors := range stored {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			t.Run(fmt.Sprint(o, order), func(t *testing.T) {
				size := image.Pt(400, 200)
				if o >= 5 {
					size = image.Pt(200, 400)
				}
				file := withEXIF(asJPEG(quadrants(size.X, size.Y, colors)), o, order)
				for query, want := range map[string]image.Point{"size=thumb": {96, 48}, "size=large": {400, 200}} {
					result, _, err := do(t.Context(), NewImages(ImagesOptions{}), lifecycle.Content{Data: file}, query)
					if err != nil {
						t.Fatal(err)
					}
					m, err := jpeg.Decode(bytes.NewReader(result.Data))
					if err != nil {
						t.Fatal(err)
					}
					if m.Bounds().Size() != want || !alike(seen(m), plain) {
						t.Errorf("%v shows %v, want %v", m.Bounds().Size(), seen(m), want)
					}
				}
			})
		}
	}
}

// pngHeader is the beginning of a PNG that claims a size and has nothing of it.
func pngHeader(w, h uint32) []byte {
	file := asPNG(image.NewGray(image.Rect(0, 0, 1, 1)))
	binary.BigEndian.PutUint32(file[16:], w)
	binary.BigEndian.PutUint32(file[20:], h)
	binary.BigEndian.PutUint32(file[29:], crcPNG(file[12:29]))
	return file
}

func TestImagesRefuses(t *testing.T) {
	good := asPNG(quadrants(40, 20, plain))
	js := func(s string) lifecycle.Content {
		return lifecycle.Content{Type: "application/json", Data: []byte(strings.ReplaceAll(s, "IMAGE", base64.StdEncoding.EncodeToString(good)))}
	}
	raw := func(b []byte) lifecycle.Content { return lifecycle.Content{Type: "image/png", Data: b} }
	tests := map[string]struct {
		content lifecycle.Content
		query   string
		code    string
	}{
		"nothing":                 {raw(nil), "", "not-an-image"},
		"text":                    {raw([]byte("hello, this is text")), "", "not-an-image"},
		"cut off":                 {raw(good[:len(good)/2]), "", "not-an-image"},
		"header only":             {raw(good[:8]), "", "not-an-image"},
		"bomb":                    {raw(pngHeader(20_000, 20_000)), "", "image-too-large"},
		"bomb, more than 32 bits": {raw(pngHeader(1<<20, 1<<20)), "", "image-too-large"},
		"no pixels":               {raw(pngHeader(0, 10)), "", "not-an-image"},
		"claims, does not hold":   {raw(pngHeader(500, 500)), "", "not-an-image"},
		"unknown size":            {raw(good), "size=huge", "bad-options"},
		"size zero":               {raw(good), "size=0", "bad-options"},
		"size too large":          {raw(good), "sizes=8001", "bad-options"},
		"size and sizes":          {raw(good), "size=1&sizes=2", "bad-options"},
		"unknown format":          {raw(good), "format=tiff", "bad-options"},
		"several as jpeg":         {raw(good), "sizes=1,2&format=jpeg", "bad-options"},
		"many":                    {raw(good), "sizes=1,2,3,4,5,6,7,8,9,10,11,12,13", "bad-options"},
		"query":                   {raw(good), "size=%zz", "bad-options"},
		"JSON without image":      {js(`{}`), "", "not-an-image"},
		"JSON, bad base64":        {js(`{"image":"***"}`), "", "bad-content"},
		"JSON, bad size":          {js(`{"image":"IMAGE","sizes":[true]}`), "", "bad-options"},
		"JSON, no JSON":           {js(`{`), "", "bad-content"},
		"JSON, image no string":   {js(`{"image":1}`), "", "bad-content"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := do(t.Context(), NewImages(ImagesOptions{}), test.content, test.query)
			if code(err) != test.code {
				t.Errorf("got %v, want %s", err, test.code)
			}
		})
	}
}

func TestImagesFromJSON(t *testing.T) {
	image64 := base64.StdEncoding.EncodeToString(asPNG(quadrants(400, 200, plain)))
	for form, want := range map[string]string{
		`{"image":"IMAGE"}`:                             "application/zip",
		`{"image":"IMAGE","sizes":[320,"thumb",33]}`:    "application/zip",
		`{"image":"IMAGE","size":"thumb"}`:              "image/jpeg",
		`{"image":"IMAGE","size":50,"format":"png"}`:    "image/png",
		`{"image":"IMAGE","size":50,"format":"zip"}`:    "application/zip",
		`{"image":"IMAGE","format":"png"}`:              "image/png",
		`{"image":"IMAGE","sizes":[9],"format":"jpeg"}`: "image/jpeg",
	} {
		data := []byte(strings.ReplaceAll(form, "IMAGE", image64))
		result, _, err := do(t.Context(), NewImages(ImagesOptions{}), lifecycle.Content{Type: "application/json", Data: data}, "")
		if err != nil || result.Type != want {
			t.Errorf("%s: %s, %v; want %s", form, result.Type, err, want)
		}
	}
}

func TestImagesStopsWithItsContext(t *testing.T) {
	cause := errors.New("enough")
	file := lifecycle.Content{Data: asPNG(quadrants(400, 200, plain))}
	for stopAt := range 6 {
		ctx, cancel := context.WithCancelCause(t.Context())
		n := 0
		job := processor.NewJob(lifecycle.Request{}, file, func(lifecycle.Progress) {
			if n == stopAt {
				cancel(cause)
			}
			n++
		})
		_, err := NewImages(ImagesOptions{}).Process(ctx, job)
		if stopAt < 5 && err != cause { // nothing is left to stop while packing
			t.Errorf("stopped at report %d: %v", stopAt, err)
		}
		cancel(nil)
	}
	// Waiting for a turn ends, too.
	h := NewImages(ImagesOptions{Parallel: 1})
	h.slots <- struct{}{}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, _, err := do(ctx, h, file, ""); err != cause {
		t.Errorf("got %v", err)
	}
}

func FuzzImageOptions(f *testing.F) {
	f.Add("sizes=1600,800&format=zip", "")
	f.Add("size=small", `{"image":"","sizes":[1,"thumb"],"format":"png"}`)
	f.Add("size=%", `{"size":null,"sizes":[null,{}]}`)
	f.Fuzz(func(t *testing.T, query, form string) {
		jobs := []*processor.Job{
			processor.NewJob(lifecycle.Request{Call: &lifecycle.Call{Query: query}}, lifecycle.Content{}, nil),
			processor.NewJob(lifecycle.Request{}, lifecycle.Content{Type: "application/json", Data: []byte(form)}, nil),
		}
		for _, job := range jobs {
			o, _, err := parseOrder(job)
			if err != nil {
				if c := code(err); c != "bad-options" && c != "bad-content" {
					t.Errorf("error %v", err)
				}
				continue
			}
			if len(o.sizes) == 0 || len(o.sizes) > maxSizes || o.single && len(o.sizes) != 1 {
				t.Errorf("order %+v", o)
			}
			for _, s := range o.sizes {
				if s.width < 1 || s.width > maxWidth || s.name == "" {
					t.Errorf("size %+v", s)
				}
			}
		}
	})
}

func FuzzJPEGOrientation(f *testing.F) {
	f.Add(withEXIF([]byte("\xff\xd8\xff\xd9"), 6, binary.BigEndian))
	f.Add([]byte("\xff\xd8\xff\xff\xff\xe1\x00\x08Exif\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if o := jpegOrientation(data); o < 1 || o > 8 {
			t.Errorf("orientation %d", o)
		}
	})
}
