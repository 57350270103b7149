// SPDX-License-Identifier: AGPL-3.0-or-later
pragma solidity 0.8.37;

import {Votes} from "@openzeppelin/contracts/governance/utils/Votes.sol";
import {VotesExtended} from "@openzeppelin/contracts/governance/utils/VotesExtended.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {IERC6372} from "@openzeppelin/contracts/interfaces/IERC6372.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";
import {IERC721} from "@openzeppelin/contracts/token/ERC721/IERC721.sol";
import {ERC721Votes} from "@openzeppelin/contracts/token/ERC721/extensions/ERC721Votes.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import {Time} from "@openzeppelin/contracts/utils/types/Time.sol";

import {ICoopMembership, IERC5192} from "./ICoopMembership.sol";

/// @title CoopMembership
/// @notice {ICoopMembership} is the specification.
contract CoopMembership is ERC721Votes, VotesExtended, ICoopMembership {
    using Checkpoints for Checkpoints.Trace208;
    using EnumerableSet for EnumerableSet.AddressSet;

    /// @dev What an address holds: one checkpoint of its history. All zero while it holds nothing.
    struct Holding {
        uint256 tokenId;
        uint48 since;
        Class class;
    }

    /* CONSTANTS AND IMMUTABLES */

    bytes32 private constant _ADMISSION =
        keccak256("Admission(address member,uint8 class,uint256 nonce,uint256 deadline)");
    bytes32 private constant _REKEY = keccak256("Rekey(address from,address to,uint256 nonce,uint256 deadline)");
    bytes32 private constant _OFFICE_CHANGE =
        keccak256("OfficeChange(uint8 office,address account,bool holds,uint256 nonce,uint256 deadline)");
    bytes32 private constant _OFFICE_WITHDRAWAL = keccak256("OfficeWithdrawal(uint256 change,uint256 deadline)");

    uint256 private constant _OFFICERS_MIN = 2;
    /// @dev From a change's being ready: what everybody has forgotten must not come true years later.
    uint48 private constant _CHANGE_LIFETIME = 30 days;

    /// @inheritdoc ICoopMembership
    uint256 public immutable delegationCap;
    /// @inheritdoc ICoopMembership
    uint48 public immutable officeDelay;

    /* STORAGE */

    /// @inheritdoc ICoopMembership
    address public registrar;
    EnumerableSet.AddressSet private _officers;

    /// @inheritdoc ICoopMembership
    uint256 public lastChange;
    mapping(uint256 change => Change) private _changes;

    /// @inheritdoc ICoopMembership
    uint256 public lastTokenId;
    /// @inheritdoc ICoopMembership
    mapping(address member => uint256) public admissionsOf;
    /// @dev Kept when the token is destroyed.
    mapping(uint256 tokenId => address) private _memberOf;
    mapping(address member => Checkpoints.Trace208) private _holdings;
    mapping(Class class => Checkpoints.Trace208) private _census;

    /* CONSTRUCTION */

    /// @param registrar_ The first registrar.
    /// @param officers_ The first officers: two or more, no address twice.
    /// @param delegationCap_ The most votes a delegate may come to have, the own included; 1 lets nobody delegate.
    /// @param officeDelay_ Seconds from the announcement of another registrar or officer until it can be.
    constructor(address registrar_, address[] memory officers_, uint256 delegationCap_, uint48 officeDelay_)
        ERC721("StreamCoop Membership", "COOP")
        EIP712("StreamCoop Membership", "1")
    {
        if (delegationCap_ == 0) revert DelegationCapMissing();
        delegationCap = delegationCap_;
        officeDelay = officeDelay_;
        _setRegistrar(registrar_);
        for (uint256 i = 0; i < officers_.length; ++i) _addOfficer(officers_[i]);
        if (_officers.length() < _OFFICERS_MIN) revert OfficersMissing();
    }

    modifier onlyRegistrar() {
        if (msg.sender != registrar) revert NotRegistrar(msg.sender);
        _;
    }

    /* ONLY REGISTRAR FUNCTIONS */

    /// @inheritdoc ICoopMembership
    function admit(address member, Class class, uint256 deadline, OfficerApproval calldata first, OfficerApproval calldata second)
        external
        onlyRegistrar
        returns (uint256 tokenId)
    {
        _requireApproved(
            keccak256(abi.encode(_ADMISSION, member, class, admissionsOf[member], deadline)), deadline, first, second
        );
        if (class == Class.None) revert ClassMissing();

        tokenId = _issue(member, class, clock());

        emit MemberAdmitted(member, tokenId, class);
    }

    /// @inheritdoc ICoopMembership
    function remove(address member) external onlyRegistrar {
        Holding memory held = _destroy(member);

        emit MemberRemoved(member, held.tokenId);
    }

    /// @inheritdoc ICoopMembership
    function changeClass(address member, Class class) external onlyRegistrar {
        Holding memory held = _requireMember(member);
        if (class == Class.None) revert ClassMissing();
        if (class == held.class) revert ClassUnchanged(member, class);

        _count(held.class, false);
        _count(class, true);
        held.class = class;
        _hold(member, held);

        emit ClassChanged(member, held.tokenId, class);
    }

    /// @inheritdoc ICoopMembership
    function rekey(
        address from,
        address to,
        uint256 deadline,
        bytes calldata fromSignature,
        bytes calldata toSignature
    ) external onlyRegistrar returns (uint256 tokenId) {
        _requireTimely(deadline);
        bytes32 digest =
            _hashTypedDataV4(keccak256(abi.encode(_REKEY, from, to, admissionsOf[from], deadline)));
        _requireSigned(from, digest, fromSignature);
        _requireSigned(to, digest, toSignature);

        Holding memory held = _destroy(from);
        tokenId = _issue(to, held.class, held.since);

        emit MemberRekeyed(from, to, held.tokenId, tokenId);
    }

    /* OFFICES */

    /// @inheritdoc ICoopMembership
    function announceChange(
        Office office,
        address account,
        bool holds,
        uint256 deadline,
        OfficerApproval calldata first,
        OfficerApproval calldata second
    ) external returns (uint256 change) {
        if (office == Office.Registrar && !holds) revert RegistrarRequired();
        _requireApproved(
            keccak256(abi.encode(_OFFICE_CHANGE, office, account, holds, lastChange, deadline)),
            deadline,
            first,
            second
        );

        change = ++lastChange;
        uint48 readyAt = clock() + officeDelay;
        uint48 lapsesAt = readyAt + _CHANGE_LIFETIME;
        _changes[change] = Change(office, account, holds, readyAt, lapsesAt);

        emit ChangeAnnounced(change, office, account, holds, readyAt, lapsesAt);
    }

    /// @inheritdoc ICoopMembership
    function carryOutChange(uint256 change) external {
        Change memory due = _requireChange(change);
        if (clock() < due.readyAt) revert ChangeNotReady(change, due.readyAt);
        if (clock() > due.lapsesAt) revert ChangeLapsed(change, due.lapsesAt);

        delete _changes[change];
        if (due.office == Office.Registrar) _setRegistrar(due.account);
        else if (due.holds) _addOfficer(due.account);
        else _removeOfficer(due.account);

        emit OfficeChanged(due.office, due.account, due.holds);
    }

    /// @inheritdoc ICoopMembership
    function withdrawChange(uint256 change, uint256 deadline, OfficerApproval calldata first, OfficerApproval calldata second)
        external
    {
        _requireChange(change);
        _requireApproved(keccak256(abi.encode(_OFFICE_WITHDRAWAL, change, deadline)), deadline, first, second);

        delete _changes[change];

        emit ChangeWithdrawn(change);
    }

    /* VIEWS */

    /// @inheritdoc ICoopMembership
    function officers() external view returns (address[] memory) {
        return _officers.values();
    }

    /// @inheritdoc ICoopMembership
    function isOfficer(address account) public view returns (bool) {
        return _officers.contains(account);
    }

    /// @inheritdoc ICoopMembership
    function announcedChange(uint256 change) external view returns (Change memory) {
        return _changes[change];
    }

    /// @inheritdoc ICoopMembership
    function totalSupply() external view returns (uint256) {
        return _getTotalSupply();
    }

    /// @inheritdoc ICoopMembership
    function isMember(address member) public view returns (bool) {
        return tokenOf(member) != 0;
    }

    /// @inheritdoc ICoopMembership
    function tokenOf(address member) public view returns (uint256 tokenId) {
        return _unpacked(_holdings[member].latest()).tokenId;
    }

    /// @inheritdoc ICoopMembership
    function seatOf(address member) external view returns (Seat memory seat) {
        Holding memory held = _unpacked(_holdings[member].latest());
        if (held.tokenId != 0) seat = Seat(member, held.class, delegates(member), held.since);
    }

    /// @inheritdoc ICoopMembership
    function classAt(address member, uint48 time) external view returns (Class) {
        return _unpacked(_holdings[member].upperLookupRecent(_validateTimepoint(time))).class;
    }

    /// @inheritdoc ICoopMembership
    function census(Class class, uint48 time) external view returns (uint256) {
        return _census[class].upperLookupRecent(_validateTimepoint(time));
    }

    /// @inheritdoc ICoopMembership
    function roll(uint256 firstTokenId, uint256 count, uint48 time) external view returns (Seat[] memory seats) {
        _validateTimepoint(time);
        seats = new Seat[](count);
        for (uint256 i = 0; i < count; ++i) {
            address member = _memberOf[firstTokenId + i];
            if (member == address(0)) continue;
            Holding memory held = _unpacked(_holdings[member].upperLookupRecent(time));
            // Else it held nothing then, or another token.
            if (held.tokenId == firstTokenId + i) {
                seats[i] = Seat(member, held.class, getPastDelegate(member, time), held.since);
            }
        }
    }

    /// @inheritdoc ICoopMembership
    function standings(address[] calldata accounts, uint48 time) external view returns (Standing[] memory told) {
        told = new Standing[](accounts.length);
        for (uint256 i = 0; i < accounts.length; ++i) {
            // Votes are kept in 208 bits. They refuse a second that is not over.
            uint208 votes = uint208(getPastVotes(accounts[i], time));
            Holding memory held = _unpacked(_holdings[accounts[i]].upperLookupRecent(time));
            told[i] = Standing(votes, held.class, held.since);
        }
    }

    /// @inheritdoc ICoopMembership
    function getPastDelegate(address account, uint256 timepoint)
        public
        view
        override(VotesExtended, ICoopMembership)
        returns (address)
    {
        return super.getPastDelegate(account, timepoint);
    }

    /// @inheritdoc IERC5192
    function locked(uint256 tokenId) external view returns (bool) {
        _requireOwned(tokenId);
        return true;
    }

    /// @inheritdoc IERC6372
    function clock() public view override(Votes, IERC6372) returns (uint48) {
        return Time.timestamp();
    }

    /// @inheritdoc IERC6372
    // solhint-disable-next-line func-name-mixedcase
    function CLOCK_MODE() public pure override(Votes, IERC6372) returns (string memory) {
        return "mode=timestamp";
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) public view override(ERC721, IERC165) returns (bool) {
        return
            interfaceId == type(IERC5192).interfaceId ||
            interfaceId == type(IERC6372).interfaceId ||
            interfaceId == type(IVotes).interfaceId ||
            super.supportsInterface(interfaceId);
    }

    /* WHAT A MEMBERSHIP CANNOT DO */

    /// @inheritdoc IERC721
    function approve(address, uint256) public pure override(ERC721, IERC721) {
        revert Soulbound();
    }

    /// @inheritdoc IERC721
    function setApprovalForAll(address, bool) public pure override(ERC721, IERC721) {
        revert Soulbound();
    }

    /// @inheritdoc IERC721
    function transferFrom(address, address, uint256) public pure override(ERC721, IERC721) {
        revert Soulbound();
    }

    /// @dev The one without data calls this one.
    function safeTransferFrom(address, address, uint256, bytes memory) public pure override(ERC721, IERC721) {
        revert Soulbound();
    }

    /// @dev Every way to move a token ends here. Only issuing (from nobody) and destroying (to nobody) may pass.
    function _update(address to, uint256 tokenId, address auth) internal override returns (address) {
        if (to != address(0) && _ownerOf(tokenId) != address(0)) revert Soulbound();
        return super._update(to, tokenId, auth);
    }

    /* DELEGATION */

    /// @dev Every way to delegate ends here.
    function _delegate(address account, address delegatee) internal override(Votes, VotesExtended) {
        if (!isMember(account)) revert NotMember(account);
        if (delegatee != account && delegatee != delegates(account)) {
            if (!isMember(delegatee)) revert NotMember(delegatee);
            // Its own vote counts wherever it is now: it may come back at any time.
            uint256 votes = getVotes(delegatee) + 1 + (delegates(delegatee) == delegatee ? 0 : 1);
            if (votes > delegationCap) revert DelegationCapReached(delegatee, delegationCap);
        }
        super._delegate(account, delegatee);
    }

    /// @dev Two parents have it; each adds to the one before.
    function _transferVotingUnits(address from, address to, uint256 amount) internal override(Votes, VotesExtended) {
        super._transferVotingUnits(from, to, amount);
    }

    /* SEATS */

    function _issue(address member, Class class, uint48 since) private returns (uint256 tokenId) {
        if (member == address(0)) revert ERC721InvalidReceiver(member);
        if (isMember(member)) revert AlreadyMember(member);
        tokenId = ++lastTokenId;
        ++admissionsOf[member];
        _memberOf[tokenId] = member;
        _hold(member, Holding(tokenId, since, class));
        _count(class, true);
        // Before the vote is there, so that nobody else ever has it: votes count only once delegated.
        super._delegate(member, member);
        // Not _safeMint: it would call the member, and a member that is a contract could then refuse or re-enter.
        _mint(member, tokenId);

        emit Locked(tokenId);
    }

    function _destroy(address member) private returns (Holding memory held) {
        held = _requireMember(member);
        _hold(member, Holding(0, 0, Class.None));
        _count(held.class, false);
        _burn(held.tokenId);
        // After the vote is gone, so that none moves.
        super._delegate(member, address(0));
    }

    function _requireMember(address member) private view returns (Holding memory held) {
        held = _unpacked(_holdings[member].latest());
        if (held.tokenId == 0) revert NotMember(member);
    }

    function _count(Class class, bool more) private {
        uint208 counted = _census[class].latest();
        _census[class].push(clock(), more ? counted + 1 : counted - 1);
    }

    function _hold(address member, Holding memory held) private {
        // 152 bits for the token, 48 for the second, 8 for the class.
        uint256 packed = (held.tokenId << 56) | (uint256(held.since) << 8) | uint256(held.class);
        _holdings[member].push(clock(), uint208(packed));
    }

    function _unpacked(uint208 packed) private pure returns (Holding memory) {
        return Holding(packed >> 56, uint48(packed >> 8), Class(uint8(packed)));
    }

    /* OFFICERS AND WHAT IS SIGNED */

    function _setRegistrar(address account) private {
        if (account == address(0)) revert RegistrarMissing();
        registrar = account;
    }

    function _addOfficer(address account) private {
        if (account == address(0)) revert OfficersMissing();
        if (!_officers.add(account)) revert AlreadyOfficer(account);
    }

    function _removeOfficer(address account) private {
        if (!_officers.remove(account)) revert NotOfficer(account);
        if (_officers.length() < _OFFICERS_MIN) revert OfficersMissing();
    }

    function _requireChange(uint256 change) private view returns (Change memory announced) {
        announced = _changes[change];
        if (announced.readyAt == 0) revert ChangeUnknown(change);
    }

    function _requireApproved(bytes32 structHash, uint256 deadline, OfficerApproval calldata first, OfficerApproval calldata second)
        private
        view
    {
        _requireTimely(deadline);
        if (first.officer == second.officer) revert SameOfficer(first.officer);
        bytes32 digest = _hashTypedDataV4(structHash);
        _requireApproval(digest, first);
        _requireApproval(digest, second);
    }

    function _requireApproval(bytes32 digest, OfficerApproval calldata approval) private view {
        if (!isOfficer(approval.officer)) revert NotOfficer(approval.officer);
        _requireSigned(approval.officer, digest, approval.signature);
    }

    function _requireTimely(uint256 deadline) private view {
        if (clock() > deadline) revert SignatureExpired(deadline);
    }

    function _requireSigned(address signer, bytes32 digest, bytes calldata signature) private view {
        if (!SignatureChecker.isValidSignatureNowCalldata(signer, digest, signature)) revert InvalidSignature(signer);
    }
}
