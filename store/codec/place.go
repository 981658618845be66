package codec

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"github.com/hark-push/hark/lifecycle"
)

// A cursor of a list of many owners' requests is where the last one stands, a time, by the store's
// own measure, and its id; and a sum over that and what the list is of, which tells it from what no
// page of it had.

// FormatDeadCursor returns the cursor behind a request of a page of those that have failed.
func FormatDeadCursor(q *lifecycle.DeadQuery, at int64, id string) string {
	return formatPlace(deadList(q), at, id)
}

// ParseDeadCursor reads what FormatDeadCursor made. It reports false if it did not, for this query.
func ParseDeadCursor(q *lifecycle.DeadQuery) (at int64, id string, ok bool) {
	return parsePlace(deadList(q), q.Cursor)
}

// FormatAllCursor returns the cursor behind a request of a page of everybody's.
func FormatAllCursor(at int64, id string) string { return formatPlace(allList, at, id) }

// ParseAllCursor reads what FormatAllCursor made. It reports false if it did not.
func ParseAllCursor(cursor string) (at int64, id string, ok bool) { return parsePlace(allList, cursor) }

// allList stands for the list of everybody's requests; no route begins with a NUL.
const allList = "\x00all"

// deadList stands for a list of those that have failed.
func deadList(q *lifecycle.DeadQuery) string {
	if q.Oldest {
		return q.Route + "\x00o"
	}
	return q.Route + "\x00n"
}

func formatPlace(list string, at int64, id string) string {
	raw := append(binary.BigEndian.AppendUint64(nil, uint64(at)), id...)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(raw, placeSum(list, raw)))
}

func parsePlace(list, cursor string) (at int64, id string, ok bool) {
	// The decoder overlooks line breaks, hence the length.
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) < 13 || len(cursor) != base64.RawURLEncoding.EncodedLen(len(raw)) {
		return 0, "", false
	}
	place, sum := raw[:len(raw)-4], binary.BigEndian.Uint32(raw[len(raw)-4:])
	if placeSum(list, place) != sum {
		return 0, "", false
	}
	return int64(binary.BigEndian.Uint64(place)), string(place[8:]), true
}

func placeSum(list string, place []byte) uint32 {
	return crc32.ChecksumIEEE(append([]byte(list), place...))
}
