package httpbody

import (
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/problem"
)

// SendRange leaves ranges and conditions (RFC 9110, sections 13 and 14) to net/http, which reads of
// the body only what it sends.
func SendRange(c *fiber.Ctx, body *Section, contentType, tag string, modified time.Time) error {
	call := &http.Request{Method: http.MethodGet, Header: make(http.Header)}
	if c.Method() == fiber.MethodHead {
		call.Method = http.MethodHead
	}
	for _, name := range []string{"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		for _, value := range c.Request().Header.PeekAll(name) {
			call.Header.Add(name, string(value))
		}
	}
	answer := &served{header: http.Header{"Content-Type": {contentType}, "Etag": {tag}}, known: make(chan struct{})}
	serve := func() { http.ServeContent(answer, call, "", modified.Truncate(time.Second), body) }
	if strings.Contains(call.Header.Get("Range"), ",") && call.Method == http.MethodGet {
		// Several are written one behind the other, with words between them, as they are read.
		answer.pipe, answer.to = io.Pipe()
		go func() {
			serve()
			answer.WriteHeader(http.StatusOK) // which it has said
			_ = answer.to.CloseWithError(answer.failed)
		}()
		<-answer.known
	} else {
		serve()
	}
	switch answer.status {
	case http.StatusPreconditionFailed:
		answer.leave()
		return &problem.Details{Kind: problem.Precondition, Detail: "The result is another one than the call is conditional on."}
	case http.StatusRequestedRangeNotSatisfiable:
		answer.leave()
		c.Set(fiber.HeaderContentRange, "bytes */"+strconv.FormatInt(body.end, 10))
		return &problem.Details{Kind: problem.Range, Detail: "The result has " + strconv.FormatInt(body.end, 10) + " bytes."}
	}
	c.Status(answer.status)
	for name, values := range answer.header {
		if name != fiber.HeaderContentLength {
			c.Set(name, values[0])
		}
	}
	length := answer.header.Get(fiber.HeaderContentLength)
	if length == "" { // nothing is sent
		answer.leave()
		return nil
	}
	size, err := strconv.Atoi(length)
	if err != nil {
		answer.leave()
		return err
	}
	switch {
	case answer.pipe != nil:
		c.Context().Response.SetBodyStream(answer.pipe, size)
	case answer.body != nil:
		c.Context().Response.SetBodyStream(answer.body, size)
	default: // to HEAD
		c.Context().Response.SetBodyStream(&Section{}, size)
	}
	return nil
}

// served is where net/http puts an answer: its head, and who the bytes of its body are to be read
// from, or, with a pipe, these.
type served struct {
	header http.Header
	status int
	known  chan struct{} // closed when the head is known
	body   io.Reader
	pipe   *io.PipeReader
	to     *io.PipeWriter
	failed error
}

func (s *served) Header() http.Header { return s.header }

func (s *served) WriteHeader(status int) {
	if s.status == 0 {
		s.status = status
		close(s.known)
	}
}

func (s *served) Write(p []byte) (int, error) {
	s.WriteHeader(http.StatusOK)
	if s.to == nil { // what it says of an error, which is said otherwise
		return len(p), nil
	}
	n, err := s.to.Write(p)
	if err != nil {
		s.failed = err
	}
	return n, err
}

// ReadFrom is how net/http copies a single part. It is read later on, when it is sent.
func (s *served) ReadFrom(r io.Reader) (int64, error) {
	s.WriteHeader(http.StatusOK)
	if s.to != nil {
		n, err := io.Copy(s.to, r)
		s.failed = err
		return n, err
	}
	part, ok := r.(*io.LimitedReader)
	if !ok { // then it is no part
		return io.Copy(io.Discard, r)
	}
	s.body = limited{part}
	return part.N, nil
}

// limited reads the beginning of a section with the section's own buffer.
type limited struct{ *io.LimitedReader }

// WriteTo implements [io.WriterTo].
func (l limited) WriteTo(w io.Writer) (int64, error) {
	body, ok := l.R.(*Section)
	if !ok {
		return io.Copy(w, l.LimitedReader)
	}
	body.end = min(body.end, body.at+l.N)
	return body.WriteTo(w)
}

// leave ends what would write the body of an answer that is not sent.
func (s *served) leave() {
	if s.pipe != nil {
		_ = s.pipe.Close()
	}
}

// SetRange leaves a Range in a call that net/http reads right, or none: of a method other than GET,
// or of a unit that is not understood, it is ignored (RFC 9110, section 14.2).
func SetRange(c *fiber.Ctx, size int) {
	unit, set, ok := strings.Cut(c.Get(fiber.HeaderRange), "=")
	if c.Method() != fiber.MethodGet || !ok || !strings.EqualFold(unit, "bytes") {
		c.Request().Header.Del(fiber.HeaderRange)
		return
	}
	c.Request().Header.Set(fiber.HeaderRange, "bytes="+byteRanges(set, int64(size)))
}

// byteRanges returns a set of ranges of bytes (RFC 9110, section 14.1.2) so that net/http, which
// takes the last 0 bytes for a range and no position that is larger than an int64, answers rightly.
// If one of them is none the whole is none.
func byteRanges(set string, size int64) string {
	const none = "x" // which is answered with 416
	var all []string
	for spec := range strings.SplitSeq(set, ",") {
		spec = strings.Trim(spec, " \t")
		if spec == "" {
			continue // a list may have empty elements (section 5.6.1)
		}
		first, last, ok := strings.Cut(spec, "-")
		from, fromOK := position(first)
		to, toOK := position(last)
		switch {
		case !ok || !fromOK || !toOK || first == "" && last == "" || first != "" && last != "" && to < from:
			return none
		case first == "" && to == 0: // the last 0 bytes, which nothing satisfies
			spec = strconv.FormatInt(size, 10) + "-"
		case first == "":
			spec = "-" + strconv.FormatInt(to, 10)
		case last == "":
			spec = strconv.FormatInt(from, 10) + "-"
		default:
			spec = strconv.FormatInt(from, 10) + "-" + strconv.FormatInt(to, 10)
		}
		all = append(all, spec)
	}
	if len(all) == 0 {
		return none
	}
	return strings.Join(all, ",")
}

// position reads the digits of a range; those that are too many mean a place beyond every end.
func position(digits string) (int64, bool) {
	if strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil && digits != "" {
		n = math.MaxInt64
	}
	return n, true
}
