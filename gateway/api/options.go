package api

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/lifecycle/suggest"
)

// The options of the query that several resources have. openapi.yaml describes each, which a test
// checks.
var (
	pollOptions    = []string{"ticket", "expired"}
	cursorOptions  = []string{"after", "lastEventId", "last_event_id"}
	historyOptions = slices.Clip(append(slices.Clip(cursorOptions), "limit", "form"))
	// limit is for who asks for JSON there.
	eventOptions  = slices.Clip(append(slices.Clip(historyOptions), "heartbeat"))
	reportOptions = []string{"attempt", "life"}
)

// What may be empty, for who writes them always: to begin with the first page, or the first event.
// What may stand there more than once: libraries for server-sent events put the id that they have
// behind the one that stands in a URL already. A socket may name several channels.
var (
	emptyOptions = slices.Concat(cursorOptions, []string{"cursor"})
	manyOptions  = cursorOptions[1:]
	pairOptions  = []string{"channel", "after"} // of a socket
)

// anyOption, as the only option of a resource, says that its query is not the gateway's.
const anyOption = "*"

// handle serves a method of a path. access lets callers through to the handler who may make the
// call, and options are all that the handler reads from the query: what else stands there is
// refused, as a field of a body that is not known, because a mistyped option would be passed over
// in silence.
func (a *API) handle(method, path string, access func(handler) fiber.Handler, h handler, options ...string) {
	a.takes[method+" "+path] = options
	if method != fiber.MethodGet {
		access = a.ownPages(access)
	}
	guarded := access(func(c *fiber.Ctx, caller auth.Caller) error {
		if err := checkParams(c); err != nil {
			return err
		}
		if err := checkOptions(c, options); err != nil {
			return err
		}
		return h(c, caller)
	})
	if method == fiber.MethodGet {
		a.app.Get(path, guarded) // HEAD, too
		return
	}
	a.app.Add(method, path, guarded)
}

// nothingElse has a path know no method but those that it was given by handle, where a path with a
// parameter in its place would take others: it is to be called before that one is given any.
func (a *API) nothingElse(path string) {
	var known, others []string
	for _, method := range fiber.DefaultMethods {
		_, given := a.takes[method+" "+path]
		if _, get := a.takes[fiber.MethodGet+" "+path]; given || method == fiber.MethodHead && get {
			known = append(known, method)
		} else {
			others = append(others, method)
		}
	}
	allow := strings.Join(known, ", ")
	for _, method := range others {
		a.app.Add(method, path, func(c *fiber.Ctx) error {
			c.Set(fiber.HeaderAllow, allow)
			return fiber.ErrMethodNotAllowed
		})
	}
}

// unasked is the access to what finds out by itself who calls.
func unasked(h handler) fiber.Handler {
	return func(c *fiber.Ctx) error { return h(c, auth.Caller{}) }
}

// twice is what is wrong with an option that is given more than once.
const twice = "stands there more than once: which one is meant?"

// checkOptions refuses a query with other options than those, or with what says nothing.
func checkOptions(c *fiber.Ctx, options []string) error {
	if slices.Contains(options, anyOption) || len(c.Request().URI().QueryString()) == 0 {
		return nil
	}
	if p := exactQuery(c.Request().URI().QueryString()); p != nil {
		return p
	}
	var errs []problem.FieldError
	args := c.Context().QueryArgs()
	for key, value := range args.All() {
		name := string(key)
		if name == "" && len(value) == 0 {
			continue
		}
		var detail string
		switch {
		case !slices.Contains(options, name):
			detail = unknownOption(name, options)
		case !utf8.Valid(value):
			detail = "is not UTF-8"
		case len(value) == 0 && !slices.Contains(emptyOptions, name):
			detail = "is empty: say what is meant, or leave it out"
		case args.Len() > 1 && len(args.PeekMulti(name)) > 1 && !slices.Contains(manyOptions, name) &&
			(!slices.Contains(options, "channel") || !slices.Contains(pairOptions, name)):
			detail = twice
		default:
			continue
		}
		if len(errs) == problem.MaxErrors {
			break
		}
		at := "?" + strings.ToValidUTF8(name[:min(len(name), 100)], "\uFFFD")
		if n := len(errs); n == 0 || detail != twice || !slices.Contains(errs, problem.At(at, twice)) {
			errs = append(errs, problem.At(at, detail))
		}
	}
	if len(errs) > 0 {
		return problem.InvalidFields(errs...)
	}
	return nil
}

// wantsTrue reads an option that is true or false, and is false where it is not given.
func wantsTrue(c *fiber.Ctx, name string, errs *[]problem.FieldError) bool {
	switch c.Query(name) {
	case "true":
		return true
	case "", "false":
	default:
		*errs = append(*errs, problem.At("?"+name, "must be true or false"))
	}
	return false
}

func unknownOption(name string, options []string) string {
	if len(options) == 0 {
		return "is not an option: this resource takes none"
	}
	quoted := make([]string, len(options))
	for i, o := range options {
		quoted[i] = strconv.Quote(o)
	}
	return "is not an option of this resource" + suggest.Mean(name, options) + "; it takes " + strings.Join(quoted, ", ")
}
