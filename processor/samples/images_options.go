package samples

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hark-push/hark/processor"
)

// size is one picture to be made.
type size struct {
	name  string
	width int // pixels
}

// The sizes with names, largest first; made when nothing else is asked for.
var namedSizes = []size{{"large", 1600}, {"medium", 800}, {"small", 320}, {"thumb", 96}}

const (
	maxWidth = 8000
	maxSizes = 12
)

// order is what an image request asks for.
type order struct {
	sizes []size // largest first
	// "" (an image file if it is one size that was asked for by name, else zip), "zip", "jpeg" or
	// "png".
	format string
	single bool // one image rather than an archive
}

// imagesForm is the JSON form of an image request, and of its query.
type imagesForm struct {
	Image  []byte            `json:"image"` // base64
	Sizes  []json.RawMessage `json:"sizes"` // names or widths
	Size   json.RawMessage   `json:"size"`  // one name or width
	Format string            `json:"format"`
}

// parseOrder returns what a job asks for and the bytes of its image.
func parseOrder(job *processor.Job) (order, []byte, error) {
	if isJSON(job.Content.Type) {
		var form imagesForm
		if err := decode(job, &form, "images", nil); err != nil {
			return order{}, nil, err
		}
		var sizes []string
		for _, raw := range form.Sizes {
			sizes = append(sizes, sizeText(raw))
		}
		o, err := newOrder(sizes, sizeText(form.Size), form.Format)
		return o, form.Image, err
	}
	query, err := queryOf(job, "images", "sizes", "size", "format")
	if err != nil {
		return order{}, nil, err
	}
	var sizes []string
	for _, list := range query["sizes"] {
		sizes = append(sizes, strings.Split(list, ",")...)
	}
	o, err := newOrder(sizes, query.Get("size"), query.Get("format"))
	return o, job.Content.Data, err
}

// sizeText is a size in JSON, "small" or 320, as it would stand in a query; what
// is neither stays as it is, to be refused with its text.
func sizeText(raw json.RawMessage) string {
	var s string
	if len(raw) == 0 || string(raw) == "null" || json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

func newOrder(sizes []string, single, format string) (order, error) {
	o := order{format: strings.ToLower(format)}
	if o.format == "jpg" {
		o.format = "jpeg"
	}
	switch o.format {
	case "", "zip", "jpeg", "png":
	default:
		return order{}, badOptions(`The format must be "zip", "jpeg" or "png".`)
	}
	if single != "" {
		if len(sizes) > 0 {
			return order{}, badOptions(`Either "size" or "sizes", not both.`)
		}
		sizes = []string{single}
	}
	o.single = o.format != "zip" && single != ""
	if !o.single && o.format != "zip" && o.format != "" {
		// jpeg or png of several sizes cannot be one file, unless it is one.
		if len(sizes) > 1 {
			return order{}, badOptions(fmt.Sprintf("Several sizes come as a zip, not as %s; ask for one size.", o.format))
		}
		o.single = true
		if len(sizes) == 0 {
			sizes = []string{namedSizes[0].name}
		}
	}
	if len(sizes) > maxSizes {
		return order{}, badOptions(fmt.Sprintf("At most %d sizes can be made at once.", maxSizes))
	}
	for _, s := range sizes {
		made, err := parseSize(strings.TrimSpace(s))
		if err != nil {
			return order{}, err
		}
		if !slices.ContainsFunc(o.sizes, func(other size) bool { return other.width == made.width }) {
			o.sizes = append(o.sizes, made)
		}
	}
	if len(o.sizes) == 0 {
		o.sizes = slices.Clone(namedSizes)
	}
	slices.SortFunc(o.sizes, func(a, b size) int { return cmp.Compare(b.width, a.width) })
	return o, nil
}

// parseSize reads a name or a width in pixels.
func parseSize(s string) (size, error) {
	for _, named := range namedSizes {
		if strings.EqualFold(s, named.name) || s == strconv.Itoa(named.width) {
			return named, nil
		}
	}
	width, err := strconv.Atoi(s)
	if err != nil || width < 1 || width > maxWidth {
		return size{}, badOptions(fmt.Sprintf("A size must be large, medium, small, thumb, or a width of 1 to %d pixels.", maxWidth))
	}
	return size{"w" + strconv.Itoa(width), width}, nil
}

func badOptions(message string) error { return processor.Fail("bad-options", message, nil) }
