package misuse

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// Case is one bad request.
type Case struct {
	Kind    string
	Name    string
	Method  string
	Raw     []byte    // as it is sent
	Cut     bool      // its client sends no more
	Wants   []Outcome // one of them is right
	Pointer string    // to what is wrong; "" if nothing names it
	Allow   []string  // methods that the answer has to name
	Op      *Operation
}

// Outcome is a status with the name of a problem type, which is the last part of its URI.
type Outcome struct {
	Status  int
	Problem string
}

func (o Outcome) String() string { return fmt.Sprint(o.Status, " ", o.Problem) }

// The outcomes of what cannot be read, is not allowed, and is not there.
var (
	malformed   = Outcome{http.StatusBadRequest, "malformed-request"}
	invalid     = Outcome{http.StatusUnprocessableEntity, "invalid-request"}
	notFound    = Outcome{http.StatusNotFound, "not-found"}
	noRequest   = Outcome{http.StatusNotFound, "request-not-found"}
	noWebhook   = Outcome{http.StatusNotFound, "webhook-not-found"}
	noChannel   = Outcome{http.StatusNotFound, "channel-not-found"}
	noMethod    = Outcome{http.StatusMethodNotAllowed, "method-not-allowed"}
	mediaType   = Outcome{http.StatusUnsupportedMediaType, "unsupported-media-type"}
	tooLarge    = Outcome{http.StatusRequestEntityTooLarge, "content-too-large"}
	badRange    = Outcome{http.StatusRequestedRangeNotSatisfiable, "range-not-satisfiable"}
	unlikedType = Outcome{http.StatusNotAcceptable, "not-acceptable"}
	badOrigin   = Outcome{http.StatusForbidden, "origin-not-allowed"}
	largeHead   = Outcome{http.StatusRequestHeaderFieldsTooLarge, "header-fields-too-large"}
	noHandshake = Outcome{http.StatusUpgradeRequired, "upgrade-required"}
)

// anywhere are the statuses that each path may answer with, as the document says in front.
var anywhere = []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusRequestTimeout, http.StatusRequestHeaderFieldsTooLarge, http.StatusForbidden}

// Answer is what came back, whole.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Check returns what is wrong with the answer to the case, "" if nothing is.
func (c *Case) Check(a Answer) string {
	if a.Status < 400 {
		return fmt.Sprintf("taken, with %d: %.200s", a.Status, a.Body)
	}
	if a.Status >= 500 {
		return fmt.Sprintf("the gateway failed, with %d: %.300s", a.Status, a.Body)
	}
	if t, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type")); t != "application/problem+json" {
		return fmt.Sprintf("%d as %q", a.Status, t)
	}
	if c.Method == http.MethodHead {
		if !slices.ContainsFunc(c.Wants, func(o Outcome) bool { return o.Status == a.Status }) {
			return fmt.Sprintf("%d, want %v", a.Status, c.Wants)
		}
		return ""
	}
	var p struct {
		Type, Title, Detail string
		Status              int
		Errors              []struct{ Pointer, Detail string }
	}
	if err := json.Unmarshal(a.Body, &p); err != nil || p.Status != a.Status || p.Title == "" || p.Detail == "" {
		return fmt.Sprintf("%d with a bad problem (%v): %.300s", a.Status, err, a.Body)
	}
	name, ok := strings.CutPrefix(p.Type, "/problems/")
	if got := (Outcome{a.Status, name}); !ok || !slices.Contains(c.Wants, got) {
		return fmt.Sprintf("%v, want %v: %.300s", got, c.Wants, a.Body)
	}
	if a.Status == invalid.Status {
		if len(p.Errors) == 0 {
			return fmt.Sprintf("no errors in %.300s", a.Body)
		}
		if c.Pointer != "" && !slices.ContainsFunc(p.Errors, func(e struct{ Pointer, Detail string }) bool { return pointsTo(e.Pointer, c.Pointer) }) {
			return fmt.Sprintf("nothing points to %s: %.300s", c.Pointer, a.Body)
		}
	}
	if a.Status == noMethod.Status {
		var allow []string
		for method := range strings.SplitSeq(strings.Join(a.Header.Values("Allow"), ","), ",") {
			allow = append(allow, strings.TrimSpace(method))
		}
		for _, method := range c.Allow {
			if !slices.Contains(allow, method) {
				return fmt.Sprintf("Allow is %q, without %s", allow, method)
			}
		}
	}
	if c.Op != nil && !slices.Contains(anywhere, a.Status) && !slices.Contains(c.Op.Statuses, a.Status) {
		return fmt.Sprintf("%d is not among the answers that %s is documented with, %v", a.Status, c.Op.ID, c.Op.Statuses)
	}
	return ""
}

// pointsTo reports whether a pointer leads to what is wrong, to something in it, or to what it is
// in.
func pointsTo(pointer, wrong string) bool {
	return pointer == wrong || strings.HasPrefix(pointer, wrong+"/") || strings.HasPrefix(wrong, pointer+"/") && pointer != ""
}
