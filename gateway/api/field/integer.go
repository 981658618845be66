package field

import (
	"encoding/json"
	"math"
	"strconv"
)

// Integer is a whole number in JSON, where 1.0 and 1e1 are some too (RFC 8259, section 6, has one
// kind of number; so does JSON Schema).
type Integer int

// UnmarshalJSON implements [json.Unmarshaler]. Its errors are those of an int.
func (i *Integer) UnmarshalJSON(text []byte) error {
	if n, err := ParseInteger(string(text)); err == nil {
		*i = Integer(n)
		return nil
	}
	return json.Unmarshal(text, (*int)(i))
}

// ParseInteger takes what is a whole number in JSON, and what strconv does.
func ParseInteger(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err == nil {
		return n, nil
	}
	f, notANumber := strconv.ParseFloat(text, 64) // which takes more than JSON does
	if notANumber != nil || !json.Valid([]byte(text)) || f != math.Trunc(f) || math.Abs(f) > math.MaxInt32 {
		return 0, err
	}
	return int(f), nil
}
