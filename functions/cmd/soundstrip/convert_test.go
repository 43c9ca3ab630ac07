package main

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
	if diff := cmp.Diff(strings.Split(list, ", "), got); diff != "" {
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
		{name: "video", args: "a/b.mp4", want: conversion{video: "a/b.mp4", mp3: "a/b.mp3"}},
		{name: "no extension", args: "b", want: conversion{video: "b", mp3: "b.mp3"}},
		{name: "options after it", args: "b.mp4 -o c.mp3 --bitrate 128k -mono --start 1:30 --title=x", want: conversion{
			video: "b.mp4", mp3: "c.mp3", options: eventing.Options{Bitrate: 128, Mono: true, Start: 90, Title: "x"}}},
		{name: "options before it", args: "--force --normalize -o - -- -b.mp4", want: conversion{
			video: "-b.mp4", mp3: "-", force: true, options: eventing.Options{Normalize: true}}},
		{name: "mono=false", args: "b.mp4 --mono=false", want: conversion{video: "b.mp4", mp3: "b.mp3"}},
		{name: "none", err: "0 videos"},
		{name: "two", args: "a.mp4 b.mp4", err: "2 videos"},
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
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(conversion{})); diff != "" {
				t.Errorf("parseConversion(%q) (-want +got):\n%s", tt.args, diff)
			}
		})
	}
}
