# frozen_string_literal: true

Puppet::Type.newtype(:aaconverge_profiles) do
  @doc = <<~DOC
    AppArmor policy as one document says, by aa-converge.

        aaconverge_profiles { 'web-fleet':
          document => {
            'prune'    => true,
            'profiles' => [{ 'file' => 'usr.sbin.nginx', 'mode' => 'complain' }],
          },
        }

    Whether it is in sync is what a run of aa-converge tells that changes nothing, with this very document: files, modes and
    what the kernel runs. So `--noop` tells what would change. It is all or nothing: when something fails, nothing of it is
    applied, and every run fails until it is corrected.

    **Autorequires:** the packages `aa-converge` and `apparmor`, and files that the document has as a `source`.
  DOC

  newparam(:owner, namevar: true) do
    desc "Who claims the document's entries. Another owner's are never touched."
  end

  newproperty(:document) do
    desc <<~DOC
      The document; `aa-converge schema document` describes it. Its `version` is 1 where it names none, and its `owner` the
      title's.
    DOC

    validate do |value|
      raise ArgumentError, "the document must be a hash, not #{value.class}" unless value.is_a?(Hash)

      owner = value.fetch('owner', resource[:owner])
      next if owner == resource[:owner]

      raise ArgumentError, "the document's owner is #{owner}, the resource's #{resource[:owner]}"
    end

    munge do |value|
      { 'version' => 1, 'owner' => resource[:owner] }.merge(value)
    end

    # What differs, in words: the document of a host cannot be read back, only compared.
    def retrieve
      provider.differences
    end

    def insync?(differences)
      differences == provider.class::IN_SYNC
    end

    def change_to_s(_differences, _document)
      provider.changes
    end

    # Policy is long, and nobody looks for it in a log.
    def should_to_s(_document)
      'as its document says'
    end
  end

  newparam(:command) do
    desc 'The program: its path, or a name to look up in the search path.'
    defaultto 'aa-converge'
  end

  newparam(:root) do
    desc 'An image or a chroot in place of this host.'
    validate { |value| raise ArgumentError, "#{value} is no absolute path" unless Puppet::Util.absolute_path?(value) }
  end

  newparam(:kernel) do
    desc 'Whether policy is loaded into the running kernel.'
    newvalues(:require, :skip)
  end

  newparam(:kernel_features) do
    desc 'Compile for the kernel with these features, a file as `aa-features-abi` writes it.'
  end

  newparam(:parser) do
    desc 'The path of apparmor_parser, where it is none of the usual.'
  end

  newparam(:lock_timeout) do
    desc 'How many seconds to wait for another run to end.'
    munge { |value| Integer(value) }
  end

  newparam(:show_diff, boolean: true, parent: Puppet::Parameter::Boolean) do
    desc "Whether texts before and after are shown where Puppet's own setting `show_diff` says so."
    defaultto :true
  end

  validate do
    raise Puppet::Error, 'a document is required' unless self[:document]
  end

  autorequire(:package) { %w[aa-converge apparmor] }

  autorequire(:file) { sources }

  # The files that entries of the document have as their `source`, which lie below the root.
  def sources
    entries = self[:document].values_at('files', 'profiles').compact.flatten
    entries.map { |entry| "#{self[:root]&.chomp('/')}#{entry['source']}" if entry.is_a?(Hash) && entry['source'] }.compact
  end
end
