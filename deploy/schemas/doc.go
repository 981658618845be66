// Package schemas is for its tests, which hold the files of deployment against the schemas of those
// who read them: Kubernetes, Compose and BuildKit, by code of their own. It is a module of its own,
// because what they depend on is nothing that Hark needs.
package schemas
