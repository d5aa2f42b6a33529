# frozen_string_literal: true

require 'json'
require 'open3'
require 'puppet/util/diff'
require 'tempfile'

Puppet::Type.type(:aaconverge_profiles).provide(:aa_converge) do
  desc 'Runs aa-converge, the document on its standard input.'

  include Puppet::Util::Diff

  # The command is not declared by `commands`: the run that installs it could not tell with --noop what it would do.

  # What #differences says where there are none.
  self::IN_SYNC = 'in sync'

  # What a run would change, in one line. Changes nothing.
  def differences
    waiting = resource.noop? && missing
    return waiting if waiting

    report = run('--check')
    return self.class::IN_SYNC unless report['changed']

    show(report['diff']) if resource.noop?
    summary(report)
  end

  # Makes the policy what the document says.
  def document=(_document)
    @applied = run
    show(@applied['diff'])
  end

  # What the last run changed, in one line.
  def changes
    summary(@applied)
  end

  private

  # What this run would have brought before, were it not for --noop: the program, or a file that the document has as a
  # source.
  def missing
    return "#{resource[:command]} is not installed" unless which(resource[:command])

    source = resource.sources.find { |path| !File.exist?(path) && resource.catalog&.resource(:file, path) }
    source && "#{source} is not there yet"
  end

  def run(*options)
    report = answer([command_path, 'apply', '--format', 'json', '--diff', *options, *own_options])
    raise Puppet::Error, failure(report) if report['failed']

    report['warnings'].each { |line| warning(line) }
    # Told on every run until it is done, as aa-converge tells it: a restart that failed once must not be forgotten.
    report['needs_restart'].each do |process|
      warning("restart #{process['unit'] || process['executable']} (process #{process['pid']}): " \
              "it does not run under `#{process['profile']}` yet")
    end
    report
  end

  def command_path
    which(resource[:command]) or
      raise Puppet::Error, "cannot find #{resource[:command]}: install it before, or name it by `command`"
  end

  def own_options
    %i[root kernel kernel_features parser lock_timeout].flat_map do |name|
      resource[name].nil? ? [] : ["--#{name.to_s.tr('_', '-')}", resource[name].to_s]
    end
  end

  # aa-converge answers with one JSON object, on success and failure alike.
  def answer(call)
    debug("runs #{call.join(' ')}")
    out, err, status = Open3.capture3(*call, stdin_data: JSON.generate(resource[:document]), binmode: true)
    answer = JSON.parse(out.force_encoding(Encoding::UTF_8))
    return answer if answer.is_a?(Hash)

    raise JSON::ParserError, 'not an object'
  rescue JSON::ParserError
    raise Puppet::Error, "#{call.first} gave no JSON object but #{status}: #{err.strip}"
  end

  def entries(report)
    report['files'].map { |entry| [entry['path'], entry] } + report['profiles'].map { |entry| [entry['file'], entry] }
  end

  def summary(report)
    touched = entries(report).select { |_file, entry| %w[planned applied].include?(entry['outcome']) }
    list = touched.map { |file, entry| "#{entry['action']} #{file} (#{entry['reasons'].join(', ')})" }
    "#{report['msg']}: #{list.join('; ')}"
  end

  # The message, and behind it all that is wrong, each as compilers say it.
  def failure(report)
    problems = report['problems'].map { |problem| "#{problem['pointer']}: #{problem['message']}" }
    errors = entries(report).map { |_file, entry| entry['error'] }.compact.map do |error|
      place = [error['file'], error['line']].compact
      [*(place.join(':') unless place.empty?), error['message']].join(': ')
    end
    left = report['rollback']['left'].map { |line| "not undone: #{line}" }
    [report['msg'], *problems, *errors, *left, report.dig('error', 'remedy')].compact.join("\n")
  end

  def show(diffs)
    return unless Puppet[:show_diff] && resource.show_diff?
    # What the catalog holds as Sensitive must reach neither the log nor the report.
    return if resource.parameter(:document).sensitive

    diffs.each { |each| notice("#{each['after_header'] || each['before_header']}\n#{each['prepared'] || unified(each)}") }
  end

  def unified(diff)
    paths = %w[before after].map do |side|
      Tempfile.open('aaconverge', &:itself).tap { |file| File.write(file.path, diff[side].to_s) }
    end
    # Ruby takes what diff(1) says for text of the locale, which is none that Puppet can log where that is C.
    diff(*paths.map(&:path)).force_encoding(Encoding::UTF_8).scrub
  ensure
    paths&.each(&:unlink)
  end
end
