package api

import (
	"slices"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/hark-push/hark/gateway/auth"
	"github.com/hark-push/hark/lifecycle/suggest"
)

// The options of the query that several resources have. openapi.yaml describes each, which a test checks.
var (
	pollOptions    = []string{"ticket", "expired"}
	cursorOptions  = []string{"after", "lastEventId", "last_event_id"}
	historyOptions = slices.Clip(append(slices.Clip(cursorOptions), "limit"))
	// limit is for who asks for JSON there.
	eventOptions  = slices.Clip(append(slices.Clip(historyOptions), "heartbeat"))
	reportOptions = []string{"attempt", "life"}
)

// anyOption, as the only option of a resource, says that its query is not the gateway's.
const anyOption = "*"

// handle serves a method of a path. access lets callers through to the handler who may make the call, and options are all that
// the handler reads from the query: what else stands there is refused, as a field of a body that is not known, because a
// mistyped option would be passed over in silence.
func (a *API) handle(method, path string, access func(handler) fiber.Handler, h handler, options ...string) {
	a.takes[method+" "+path] = options
	guarded := access(func(c *fiber.Ctx, caller auth.Caller) error {
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

// unasked is the access to what finds out by itself who calls.
func unasked(h handler) fiber.Handler {
	return func(c *fiber.Ctx) error { return h(c, auth.Caller{}) }
}

// checkOptions refuses a query with other options than those.
func checkOptions(c *fiber.Ctx, options []string) error {
	if slices.Contains(options, anyOption) || len(c.Request().URI().QueryString()) == 0 {
		return nil
	}
	var errs []fieldError
	for key := range c.Context().QueryArgs().All() {
		name := string(key)
		if name == "" || slices.Contains(options, name) {
			continue
		}
		if len(errs) == maxErrors {
			break
		}
		errs = append(errs, fieldError{"?" + strings.ToValidUTF8(name[:min(len(name), 100)], "\uFFFD"), unknownOption(name, options)})
	}
	if len(errs) > 0 {
		return invalid(errs...)
	}
	return nil
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
