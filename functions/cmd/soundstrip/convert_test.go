package main

import (
	"cmp"
	"net/url"
	"runtime"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/soundstrip/soundstrip/eventing"
)

// TestConversionFlags holds the flags to the options that there are.
func TestConversionFlags(t *testing.T) {
	t.Parallel()
	_, err := eventing.ParseOptions(url.Values{"none": {"x"}})
	if err == nil {
		t.Fatal("ParseOptions(none=x) = nil, want the list of options")
	}
	_, list, _ := strings.Cut(err.Error(), "the options are ")
	var got []string
	for _, f := range conversionFlags {
		got = append(got, f.name)
	}
	if diff := gocmp.Diff(strings.Split(list, ", "), got); diff != "" {
		t.Errorf("flags differ from options (-want +got):\n%s", diff)
	}
}

func TestParseConversion(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args string
		want conversion
		err  string
	}{
		{name: "video", args: "a/b.mp4", want: conversion{paths: []string{"a/b.mp4"}}},
		{name: "options after it", args: "b.mp4 -o c.mp3 --bitrate 128k -mono --start 1:30 --title=x", want: conversion{
			paths: []string{"b.mp4"}, out: "c.mp3",
			options: eventing.Options{Bitrate: 128, Mono: true, Start: 90, Title: "x"}}},
		{name: "options before it", args: "--force --normalize -o - -- -b.mp4", want: conversion{
			paths: []string{"-b.mp4"}, out: "-", force: true, options: eventing.Options{Normalize: true}}},
		{name: "mono=false", args: "b.mp4 --mono=false", want: conversion{paths: []string{"b.mp4"}}},
		{name: "several", args: "a.mp4 -j 3 b.mp4 --json", want: conversion{
			paths: []string{"a.mp4", "b.mp4"}, atOnce: 3, json: true}},
		{name: "standard input", args: "- -o b.mp3", want: conversion{paths: []string{"-"}, out: "b.mp3"}},
		{name: "none", err: "no video"},
		{name: "standard input and others", args: "- a.mp4", err: "standard input"},
		{name: "none at once", args: "a.mp4 -j 0", err: "at least 1"},
		{name: "two outputs", args: "a.mp4 --json -o -", err: "--json"},
		{name: "two outputs of a pipe", args: "--json -", err: "--json"},
		{name: "unknown option", args: "a.mp4 --bit 3", err: "-bit"},
		{name: "an upload's option", args: "a.mp4 --webhook https://example.com", err: "-webhook"},
		{name: "bad value", args: "a.mp4 --bitrate 31", err: "320"},
		{name: "bad bool", args: "a.mp4 --mono=maybe", err: "true or false"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseConversion(strings.Fields(tt.args))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("parseConversion(%q) = %v, want an error with %q", tt.args, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatalf("parseConversion(%q) = %v", tt.args, err)
			}
			tt.want.atOnce = cmp.Or(tt.want.atOnce, runtime.GOMAXPROCS(0))
			if diff := gocmp.Diff(tt.want, got, gocmp.AllowUnexported(conversion{})); diff != "" {
				t.Errorf("parseConversion(%q) (-want +got):\n%s", tt.args, diff)
			}
		})
	}
}
