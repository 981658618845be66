// Package misuse is what callers may do wrong, for tests: it derives bad requests from the
// document of the interface (openapi.yaml), so that what is added there is tried, too, and says of
// each how it is to be refused. It sends them as they are, byte by byte, because no client library
// would.
//
// Kinds are: values of options and of members of bodies, by their schemas; options and members
// that are not known, missing, or given twice; bodies that are no JSON, at each of their bytes;
// media types and codings; bodies that are too large, or cut; fields of the head; ids and names in
// paths; spellings of paths; methods; and what is no HTTP.
//
// What an optional member is when it is null is not tried: it is taken as absent, for clients that
// write all of their members.
package misuse
