package samples

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hark-push/hark/lifecycle/suggest"
	"github.com/hark-push/hark/processor"
)

// decode reads the content of a job into what v points to, as [processor.Job.Decode] does, but
// refuses a field that v does not have: it would be passed over, and the work would be another one
// than was meant. sample is the name of the sample, and slips says of words that are not close to a
// field which one is likely to be meant.
func decode(job *processor.Job, v any, sample string, slips map[string]string) error {
	var fields map[string]json.RawMessage
	if json.Unmarshal(job.Content.Data, &fields) == nil {
		// Otherwise it is no object, which Decode has words for.
		if err := refuseUnknown(slices.Sorted(maps.Keys(fields)), suggest.Fields(v), sample, slips); err != nil {
			return err
		}
	}
	return job.Decode(v)
}

// queryOf returns the query of a job's call, without options that are not known.
func queryOf(job *processor.Job, sample string, known ...string) (url.Values, error) {
	if job.Call == nil {
		return nil, nil //nolint:nilnil // no query has no options
	}
	query, err := url.ParseQuery(job.Call.Query)
	if err != nil {
		return nil, badOptions("The query string cannot be read.")
	}
	return query, refuseUnknown(slices.Sorted(maps.Keys(query)), known, sample, nil)
}

// refuseUnknown returns an error that names those of the names that are not known, and what is.
func refuseUnknown(names, known []string, sample string, slips map[string]string) error {
	const most = 5 // that are named
	var wrong []string
	for _, name := range names {
		if slices.Contains(known, name) {
			continue
		}
		if len(wrong) == most {
			wrong = append(wrong, "…")
			break
		}
		meant := suggest.Name(name, known)
		if meant == "" {
			meant = slips[strings.ToLower(name)]
		}
		text := strconv.QuoteToGraphic(name[:min(len(name), 100)])
		if meant != "" {
			text += fmt.Sprintf(" (did you mean %q?)", meant)
		}
		wrong = append(wrong, text)
	}
	if len(wrong) == 0 {
		return nil
	}
	takes := "it takes none there"
	if len(known) > 0 {
		takes = "it takes " + strings.Join(known, ", ")
	}
	return badOptions(fmt.Sprintf("The sample %s does not know %s; %s.", sample, strings.Join(wrong, ", "), takes))
}
