package transfer

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/hark-push/hark/lifecycle"
	"github.com/hark-push/hark/stream"
	"github.com/hark-push/hark/webhook/dispatch"
)

// checker holds lines against what a gateway could have stored, before a driver takes them. It
// remembers of each name that may come once only 64 bits: for a hundred million of them the chance
// is one in 4,000 that two seem to be the same, and another try has another seed.
type checker struct {
	seed maphash.Seed
	seen map[uint64]struct{}
	of   string // the endpoint that a delivery belongs to

	last  uint64          // offset of the event before
	parts map[string]bool // of the request, those that have come

	stream    string // key of the one before
	next, end uint64 // where its next bytes begin, and it ends
}

func newChecker() *checker {
	return &checker{seed: maphash.MakeSeed(), seen: make(map[uint64]struct{}), parts: make(map[string]bool)}
}

// The longest names that there are, in bytes.
const (
	maxOwner   = 256
	maxMessage = 256
	maxURL     = 2048
)

// once returns an error if something comes a second time.
func (c *checker) once(kind Kind, names ...string) error {
	var h maphash.Hash
	h.SetSeed(c.seed)
	for _, name := range append(names, string(kind)) {
		_, _ = h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(name))))
		_, _ = h.WriteString(name)
	}
	sum := h.Sum64()
	if _, twice := c.seen[sum]; twice {
		return errTwice
	}
	c.seen[sum] = struct{}{}
	return nil
}

var errTwice = errors.New("it is there twice")

// rule is one that a value must keep.
type rule struct {
	kept  bool
	what  string
	value string
}

func check(rules ...rule) error {
	for _, r := range rules {
		if !r.kept {
			return fmt.Errorf("it has %s that there cannot be: %.80q", r.what, r.value)
		}
	}
	return nil
}

func validOwner(s string) bool {
	return len(s) <= maxOwner && utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

func validLife(s string) bool { return s == "" || lifecycle.ValidLife(s) }

func validTopic(s string) bool { return s == "" || lifecycle.ValidTopic(s) }

// validMessage reports whether s may be the id or the lane of a delivery.
func validMessage(s string) bool {
	return s != "" && len(s) <= maxMessage && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// validURL reports whether deliveries may go to a URL by some setting of a gateway: each asks anew
// before it sends.
func validURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= maxURL && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil
}

// line returns what is wrong with a line.
func (c *checker) line(l *Line) error {
	if l.Kind != Bytes {
		if err := c.streamEnd(); err != nil {
			return err
		}
	}
	switch l.Kind {
	case Request:
		return c.request(l)
	case Content:
		if c.parts[l.Part] {
			return errTwice
		}
		c.parts[l.Part] = true
		return nil
	case Event, Entry:
		switch {
		case l.Event != "" && !json.Valid([]byte(l.Event)):
			return errors.New("its event is no JSON")
		case l.Offset <= c.last:
			return fmt.Errorf("its offset %d does not follow %d", l.Offset, c.last)
		}
		c.last = l.Offset
		return nil
	case Key:
		return cmp.Or(check(
			rule{lifecycle.ValidID(l.ID), "an id of a request", l.ID}, rule{validLife(l.Life), "a life", l.Life},
		), c.once(l.Kind, string(l.Digest)))
	case Feed:
		c.last = 0
		ch, err := lifecycle.ParseKey(l.Channel)
		kept := err == nil && ch.Feed() && validOwner(ch.Owner) && validOwner(ch.Name) &&
			(ch.Kind != lifecycle.TopicChannel || lifecycle.ValidTopic(ch.Name))
		if l.Begun > l.Offset {
			return fmt.Errorf("the feed begins behind %d and ends with %d", l.Begun, l.Offset)
		}
		return cmp.Or(check(rule{kept, "a channel", l.Channel}), c.once(l.Kind, l.Channel))
	case Endpoint:
		return c.endpoint(l)
	case Delivery:
		return c.delivery(l)
	case Kept:
		kept := l.ID != "" && len(l.ID) <= maxMessage && utf8.ValidString(l.ID) && !strings.ContainsRune(l.ID, 0)
		return cmp.Or(check(rule{kept, "a name", l.ID}), c.once(l.Kind, l.ID))
	case Stream:
		return c.streamLine(l)
	case Bytes:
		return c.bytesLine(l)
	case Floor:
		return c.once(l.Kind)
	default: // that is the driver's to refuse
		return nil
	}
}

func (c *checker) request(l *Line) error {
	r := l.Request
	if r == nil {
		return errors.New("it has no request")
	}
	c.last, c.parts = 0, make(map[string]bool, 2)
	endpoint := ""
	if r.Webhook != nil {
		endpoint = r.Webhook.Endpoint
	}
	then := ""
	if r.Batch != nil {
		then = r.Batch.Then
	}
	return cmp.Or(check(
		rule{lifecycle.ValidID(r.ID), "an id", r.ID},
		rule{validLife(r.Life), "a life", r.Life},
		rule{validOwner(r.Owner), "an owner", r.Owner},
		rule{lifecycle.ValidRoute(r.Route) || r.Batch != nil && r.Route == "", "a route", r.Route},
		rule{validTopic(r.Topic), "a topic", r.Topic},
		rule{r.Priority >= 0 && r.Priority <= 9, "a priority", fmt.Sprint(r.Priority)},
		rule{r.BatchID == "" || lifecycle.ValidID(r.BatchID), "an id of a batch", r.BatchID},
		rule{validLife(r.BatchLife), "a life of a batch", r.BatchLife},
		rule{then == "" || lifecycle.ValidID(then), "an id of what follows a batch", then},
		rule{(r.Status == lifecycle.Waiting) == (r.Question != nil) && (r.Question == nil || r.Question.Valid() == nil), "a question", string(r.Status)},
		rule{endpoint == "" || lifecycle.ValidID(endpoint), "an id of a webhook endpoint", endpoint},
	), c.once(l.Kind, r.ID))
}

func (c *checker) endpoint(l *Line) error {
	e := l.Endpoint
	if e == nil {
		return errors.New("it has no endpoint")
	}
	c.of = e.ID
	status := e.Status == dispatch.Active || e.Status == dispatch.Paused || e.Status == dispatch.Pending || e.Status == dispatch.Disabled
	rules := []rule{
		{lifecycle.ValidID(e.ID), "an id", e.ID},
		{validOwner(e.Owner), "an owner", e.Owner},
		{validURL(e.URL), "a URL", e.URL},
		{status, "a status", string(e.Status)},
	}
	for _, route := range e.Routes {
		rules = append(rules, rule{lifecycle.ValidRoute(route), "a route", route})
	}
	for _, topic := range e.Topics {
		prefix := strings.TrimSuffix(topic, "*")
		rules = append(rules, rule{validTopic(prefix), "a topic", topic})
	}
	return cmp.Or(check(rules...), c.once(l.Kind, e.ID))
}

func (c *checker) delivery(l *Line) error {
	m := l.Delivery
	if m == nil {
		return errors.New("it has no delivery")
	}
	state := m.State == dispatch.Waiting || m.State == dispatch.Delivered || m.State == dispatch.Dead || m.State == dispatch.Superseded
	return cmp.Or(check(
		rule{validMessage(m.ID), "an id", m.ID},
		rule{validMessage(m.Lane), "a lane", m.Lane},
		rule{state, "a state", string(m.State)},
	), c.once(l.Kind, c.of, m.ID))
}

// streamLine returns what is wrong with a stream.
func (c *checker) streamLine(l *Line) error {
	if l.Stream == nil {
		return errors.New("it has no stream")
	}
	s := stream.Stream(*l.Stream)
	begin := uint64(0)
	if s.Fork != nil {
		begin = s.Fork.At
	}
	if begin > s.Tail || s.Tail > math.MaxInt64 {
		return fmt.Errorf("the stream begins at %d and ends at %d", begin, s.Tail)
	}
	c.stream, c.next, c.end = l.Channel, begin, s.Tail
	name, ok := stream.ParseKey(l.Channel)
	return cmp.Or(check(
		rule{ok && validStream(name), "a stream", l.Channel},
		rule{s.Fork == nil || !name.Output() && validStream(s.Fork.From) && !s.Fork.From.Output(), "a source of a fork", fmt.Sprint(s.Fork)},
		rule{s.Tag != "" && !strings.ContainsAny(s.Tag, "_,&=?/"), "a tag", s.Tag},
		rule{s.Forks >= 0 && (!s.Deleted || s.Forks > 0), "a count of forks", fmt.Sprint(s.Forks)},
	), c.once(l.Kind, l.Channel))
}

// validStream reports whether there may be a stream of a name.
func validStream(n stream.Name) bool {
	if n.Output() {
		of := lifecycle.ParseRef(n.Path)
		return lifecycle.ValidID(of.ID) && validLife(of.Life)
	}
	return validOwner(n.Owner) && stream.ValidPath(n.Path)
}

// bytesLine returns what is wrong with bytes of the stream before.
func (c *checker) bytesLine(l *Line) error {
	size := uint64(len(l.Data))
	if size == 0 || l.Offset != c.next || size > c.end-c.next {
		return fmt.Errorf("%d bytes at %d are none of the stream before: it has %d of %d", size, l.Offset, c.next, c.end)
	}
	c.next += size
	return nil
}

// streamEnd returns an error if the stream before lacks bytes.
func (c *checker) streamEnd() error {
	if c.next != c.end {
		return fmt.Errorf("the stream %.80q before it has %d bytes, and those from %d on are missing", c.stream, c.end, c.next)
	}
	return nil
}
