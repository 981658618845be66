package codec

import (
	"bytes"
	"strconv"
	"time"

	"github.com/hark-push/hark/lifecycle"
)

// What stands between the members of an event as clients got it, see ParseEvent.
const (
	textOpening = `{"specversion":"1.0","id":"`
	textSource  = `","source":"`
	textKind    = `","type":"`
	textTrace   = `","traceparent":"`
	textTopic   = `","subject":"`
	textTime    = `","time":`
	textData    = `","datacontenttype":"application/json","data":`
	textRoute   = `","route":`
)

// ParseEvent reads an event that was stored as clients got it, which older layouts did, and imports
// do. It goes by the very bytes that such an event begins with, so nothing that anybody may choose,
// which comes later, is taken for them. ok is false if the event begins with anything else: then
// only its text is known.
func ParseEvent(text []byte) (e *lifecycle.Event, ok bool) {
	e = &lifecycle.Event{Text: text}
	if parse(e) {
		return e, true
	}
	return &lifecycle.Event{Text: text}, false
}

// parse reads the text of an event.
func parse(e *lifecycle.Event) bool {
	rest, ok := bytes.CutPrefix(e.Text, []byte(textOpening))
	if !ok {
		return false
	}
	id, rest, _ := bytes.Cut(rest, []byte("/"))
	digits, rest, _ := bytes.Cut(rest, []byte(textSource))
	if life, behind, lives := bytes.Cut(digits, []byte("/")); lives {
		e.Request.Life, digits = string(life), behind
		if !lifecycle.ValidLife(e.Request.Life) {
			return false
		}
	}
	source, rest, ok := bytes.Cut(rest, []byte(textKind))
	e.Request.ID = string(id)
	if !ok || !lifecycle.ValidID(e.Request.ID) || bytes.ContainsFunc(digits, notDigit) ||
		!bytes.HasSuffix(source, append([]byte("/"), id...)) || bytes.ContainsRune(source, '"') {
		return false
	}
	sequence, err := strconv.ParseUint(string(digits), 10, 64)
	kind, _, closed := bytes.Cut(rest, []byte(`",`))
	e.Sequence, e.Type = sequence, lifecycle.EventType(kind)
	if err != nil || !closed || !e.Type.Known() && e.Type != lifecycle.EventReset {
		return false
	}
	parseRest(e, rest[len(kind):])
	return true
}

// parseRest reads what stands behind the type, as far as it is what was always written there.
func parseRest(e *lifecycle.Event, rest []byte) {
	if behind, ok := bytes.CutPrefix(rest, []byte(textTrace)); ok {
		trace, _, _ := bytes.Cut(behind, []byte(`"`))
		if lifecycle.ValidTraceparent(string(trace)) {
			e.Trace, rest = string(trace), behind[len(trace):]
		}
	}
	if behind, ok := bytes.CutPrefix(rest, []byte(textTopic)); ok {
		topic, _, _ := bytes.Cut(behind, []byte(`"`))
		e.Topic, rest = string(topic), behind[len(topic):]
	}
	if behind, ok := bytes.CutPrefix(rest, []byte(textTime+`"`)); ok {
		at, _, _ := bytes.Cut(behind, []byte(`"`))
		e.Time, _ = time.Parse(time.RFC3339, string(at))
	}
	_, rest, _ = bytes.Cut(rest, []byte(textData))
	_, rest, _ = bytes.Cut(rest, []byte(textRoute))
	if quoted, ok := bytes.CutPrefix(rest, []byte(`"`)); ok { // else it is null
		route, _, _ := bytes.Cut(quoted, []byte(`"`))
		e.Route = string(route)
	}
}

func notDigit(r rune) bool { return r < '0' || r > '9' }
