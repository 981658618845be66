package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/alecthomas/kong"

	"github.com/hark-push/hark/gateway/config"
)

// runConfig does what is asked for behind `hark config`: it prints each setting that a gateway
// would have with these arguments, here and now, and where that comes from.
func runConfig(args []string, out, errOut io.Writer) int {
	var flags struct {
		JSON    bool `name:"json" help:"Print JSON, a setting a line."`
		Changed bool `name:"changed" help:"Leave out those that have their default."`
	}
	_, values, wrong, err := config.Effective(args, out, kong.Embed(&flags), kong.Name("hark config"),
		kong.Description("Prints the settings that a gateway would have with the same flags, variables and files, and where each comes from. "+
			"Secrets are left out. Ends with 1 if the gateway would refuse them, and says why, with 2 if they cannot be read."))
	switch {
	case errors.Is(err, config.ErrHelp):
		return exitDone
	case err != nil:
		_, _ = fmt.Fprintln(errOut, "hark:", err)
		return exitUsage
	}
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	if !flags.JSON {
		_, _ = fmt.Fprintln(table, "NAME\tVALUE\tFROM")
	}
	for _, v := range values {
		if flags.Changed && v.From == "default" {
			continue
		}
		if flags.JSON {
			err = errors.Join(err, lines.Encode(v))
			continue
		}
		from, text := v.From, v.Text
		if v.Where != "" {
			from += " " + v.Where
		}
		if text == "" {
			text = "-"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", v.Name, text, from)
	}
	if err = errors.Join(err, table.Flush()); err != nil {
		_, _ = fmt.Fprintln(errOut, "hark:", err)
		return exitDamaged
	}
	if wrong != nil {
		_, _ = fmt.Fprintln(errOut, "hark: the gateway refuses this:", wrong)
		return exitDamaged
	}
	return exitDone
}
