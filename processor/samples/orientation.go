package samples

import (
	"bytes"
	"encoding/binary"
	"image"
)

// orientation is how a camera was held, as EXIF tells: 1 is upright, 2 to 8 are
// the turns and mirrorings that bring the picture upright.
type orientation uint16

const upright orientation = 1

// sideways reports whether width and height change places.
func (o orientation) sideways() bool { return o >= 5 }

// jpegOrientation finds the EXIF orientation in a JPEG; upright if it has none or
// a broken one, since that is no reason to refuse a picture.
func jpegOrientation(data []byte) orientation {
	if len(data) < 4 || data[0] != 0xFF || data[1] != 0xD8 {
		return upright
	}
	for rest := data[2:]; len(rest) >= 4 && rest[0] == 0xFF; {
		marker := rest[1]
		if marker == 0xFF { // a fill byte
			rest = rest[1:]
			continue
		}
		size := int(binary.BigEndian.Uint16(rest[2:]))
		if marker == 0xDA || size < 2 || len(rest) < 2+size {
			// The picture itself begins here, or nonsense.
			break
		}
		if marker == 0xE1 {
			if tiff, ok := bytes.CutPrefix(rest[4:2+size], []byte("Exif\x00\x00")); ok {
				return tiffOrientation(tiff)
			}
		}
		rest = rest[2+size:]
	}
	return upright
}

// tiffOrientation reads the orientation tag of the first directory of a TIFF.
func tiffOrientation(tiff []byte) orientation {
	if len(tiff) < 8 {
		return upright
	}
	var order binary.ByteOrder
	switch string(tiff[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return upright
	}
	at := uint64(order.Uint32(tiff[4:]))
	if at+2 > uint64(len(tiff)) {
		return upright
	}
	entries := tiff[at+2:]
	for range order.Uint16(tiff[at:]) {
		const entrySize, tagOrientation, typeShort = 12, 0x0112, 3
		if len(entries) < entrySize {
			break
		}
		if order.Uint16(entries) == tagOrientation {
			value := orientation(order.Uint16(entries[8:]))
			if order.Uint16(entries[2:]) != typeShort || value < 1 || value > 8 {
				break
			}
			return value
		}
		entries = entries[entrySize:]
	}
	return upright
}

// turn brings a picture upright. It returns src itself if it is.
func turn(src *image.RGBA, o orientation) *image.RGBA {
	if o <= upright || o > 8 {
		return src
	}
	w, h := src.Rect.Dx(), src.Rect.Dy()
	dw, dh := w, h
	if o.sideways() {
		dw, dh = h, w
	}
	dst := image.NewRGBA(image.Rect(0, 0, dw, dh))
	for y := range dh {
		for x := range dw {
			var sx, sy int
			switch o {
			case 2: // mirrored
				sx, sy = w-1-x, y
			case 3: // upside down
				sx, sy = w-1-x, h-1-y
			case 4: // upside down and mirrored
				sx, sy = x, h-1-y
			case 5: // mirrored along the diagonal
				sx, sy = y, x
			case 6: // to be turned clockwise
				sx, sy = y, h-1-x
			case 7: // mirrored along the other diagonal
				sx, sy = w-1-y, h-1-x
			case 8: // to be turned counter-clockwise
				sx, sy = w-1-y, x
			}
			copy(dst.Pix[y*dst.Stride+4*x:][:4], src.Pix[sy*src.Stride+4*sx:][:4])
		}
	}
	return dst
}
